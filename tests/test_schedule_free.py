"""The schedule-free rules: y is trained, x is evaluated, and z is the state."""

import copy

import numpy as np
import pytest
import pytorch_optimizer
import torch
from contract import parameters, run, set_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.errors import ConfigError
from steepest.optimizers.schedule_free_adamw import ScheduleFreeAdamW
from steepest.optimizers.schedule_free_sgd import ScheduleFreeSGD

RULES = [ScheduleFreeSGD, ScheduleFreeAdamW]
TWINS = {
    ScheduleFreeSGD: pytorch_optimizer.ScheduleFreeSGD,
    ScheduleFreeAdamW: pytorch_optimizer.ScheduleFreeAdamW,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("options", [{}, {"r": 1.0, "weight_lr_power": 1.0}])
@pytest.mark.contract("equals its twin", "schedule_free_adamw", "schedule_free_sgd")
def test_equals_its_twin_while_lr_warms_up_and_falls_and_in_what_is_evaluated(rule, dtype, tolerance, decay, options):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = rule(ours, lr=0.02, weight_decay=decay, **options)
    twin = TWINS[rule](theirs, lr=0.02, weight_decay=decay, **options)
    for step in range(50):
        lr = 0.02 * min((step + 1) / 10, (50 - step) / 20)
        for h in optimizer.param_groups + twin.param_groups:
            h["lr"] = lr
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = a.grad.clone()
        optimizer.step()
        twin.step()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    optimizer.eval()
    twin.eval()
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("rule", RULES)
@given(
    steps=st.lists(
        st.tuples(
            st.floats(-5, 5).filter(lambda g: abs(g) > 1e-4),
            st.floats(0.0, 0.5),
            st.sampled_from([0.1, 0.5, 0.85, 0.95]),
        ),
        min_size=1,
        max_size=10,
    ),
    x=st.floats(-3, 3),
    form=st.sampled_from(["l2", "times_lr", "decoupled"]),
    decay=st.sampled_from([0.0, 0.1]),
)
@settings(max_examples=40, deadline=None)
def test_under_a_cycled_momentum_x_is_the_papers_average(rule, steps, x, form, decay):
    """x is kept here; the parameters held before a step are y as made with the momentum of the step before."""
    p = nn.Parameter(torch.tensor(x, dtype=torch.float64))
    optimizer = rule([p], weight_decay=decay, weight_decay_form=form)
    h = optimizer.param_groups[0]
    y = z = x
    v = total = largest = 0.0
    for t, (gradient, lr, beta) in enumerate(steps, start=1):
        h.update({"lr": lr} | ({"betas": [beta, 0.9]} if "betas" in h else {"momentum": beta}))
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
        g = gradient + (decay * y if form == "l2" else 0.0)
        if rule is ScheduleFreeAdamW:
            v = 0.9 * v + 0.1 * g * g
            g = g / (np.sqrt(v / (1 - 0.9**t)) + 1e-8)
        z = z - lr * g - {"l2": 0.0, "times_lr": lr * decay, "decoupled": decay}[form] * y
        largest = max(largest, lr)
        total += largest**2
        c = largest**2 / total if total else 0.0
        x = (1 - c) * x + c * z
        y = (1 - beta) * z + beta * x
        assert p.item() == pytest.approx(y, rel=1e-9, abs=1e-9)
        assert optimizer.state[p]["z"].item() == pytest.approx(z, rel=1e-9, abs=1e-9)
        optimizer.eval()
        assert p.item() == pytest.approx(x, rel=1e-7, abs=1e-7)
        optimizer.train()


@pytest.mark.parametrize("rule", RULES)
def test_with_a_constant_lr_the_weights_to_evaluate_are_the_mean_of_z(rule):
    params = parameters(shapes=[(5,)])
    optimizer = rule(params, lr=0.05)
    seen = []
    for step in range(30):
        run(optimizer, params, 1, start=step)
        seen.append(optimizer.state[params[0]]["z"].clone())
    optimizer.eval()
    torch.testing.assert_close(params[0].detach(), torch.stack(seen).mean(0), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_eval_and_train_give_the_trained_weights_back_bit_for_bit(rule, dtype):
    params, undisturbed = parameters(dtype), parameters(dtype)
    optimizer, reference = rule(params, lr=0.1), rule(undisturbed, lr=0.1)
    optimizer.eval()  # before the first step there is nothing to put there
    optimizer.train()
    for step in range(0, 20, 5):
        run(optimizer, params, 5, start=step)
        run(reference, undisturbed, 5, start=step)
        trained = [p.detach().clone() for p in params]
        optimizer.eval()
        evaluated = [p.detach().clone() for p in params]
        optimizer.eval()
        torch.testing.assert_close([p.detach() for p in params], evaluated, rtol=0, atol=0)
        assert not torch.equal(evaluated[2], trained[2])
        with pytest.raises(RuntimeError, match=r"call train\(\) before step"):
            optimizer.step()
        optimizer.train()
        optimizer.train()
        torch.testing.assert_close([p.detach() for p in params], trained, rtol=0, atol=0)
    torch.testing.assert_close(params, undisturbed, rtol=0, atol=0)


@pytest.mark.parametrize("rule", RULES)
def test_while_a_warm_up_is_at_zero_nothing_moves_and_its_steps_do_not_count(rule):
    late, start = parameters(shapes=[(4,)]), parameters(shapes=[(4,)])
    optimizer = rule(late, lr=0.0)
    run(optimizer, late, 3)
    torch.testing.assert_close(late, start, rtol=0, atol=0)
    optimizer.param_groups[0]["lr"] = 0.1
    run(optimizer, late, 1, start=3)
    optimizer.eval()
    torch.testing.assert_close(late[0].detach(), optimizer.state[late[0]]["z"])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("form", ["times_lr", "decoupled"])
def test_decay_alone_moves_x_y_and_z_together(rule, form):
    p = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = rule([p], lr=0.5, weight_decay=0.1, weight_decay_form=form)
    p.grad = torch.zeros_like(p)
    optimizer.step()
    shrunk = torch.full((3,), 0.95 if form == "times_lr" else 0.9, dtype=torch.float64)
    torch.testing.assert_close(p.detach(), shrunk)
    torch.testing.assert_close(optimizer.state[p]["z"], shrunk)
    optimizer.eval()
    torch.testing.assert_close(p.detach(), shrunk)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_for_sgd_the_forms_l2_and_times_lr_are_the_same(decay):
    a, b = parameters(), parameters()
    run(ScheduleFreeSGD(a, lr=0.1, weight_decay=decay, weight_decay_form="l2"), a, 20)
    run(ScheduleFreeSGD(b, lr=0.1, weight_decay=decay, weight_decay_form="times_lr"), b, 20)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_a_sparse_gradient_moves_y_and_z_of_the_touched_rows_alone(rule):
    table = nn.Parameter(torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
    optimizer = rule([table], lr=0.1)
    start = table.detach().clone()
    for _ in range(3):
        values = torch.ones(2, 3, dtype=torch.float64)
        table.grad = torch.sparse_coo_tensor(torch.tensor([[0, 3]]), values, (5, 3), check_invariants=True)
        optimizer.step()
    z, untouched, touched = optimizer.state[table]["z"], [1, 2, 4], [0, 3]
    assert torch.equal(table[untouched], start[untouched])
    assert torch.equal(z[untouched], start[untouched])
    assert (table[touched] < start[touched]).all()
    assert (z[touched] < table[touched]).all()
    optimizer.eval()
    torch.testing.assert_close(table[untouched], start[untouched])


def test_sgd_with_the_lr_of_the_paper_reaches_the_minimum_without_a_schedule():
    curvature = torch.tensor([1.0, 0.1, 0.01], dtype=torch.float64)
    x = nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = ScheduleFreeSGD([x], lr=1.0)
    for _ in range(2000):
        x.grad = curvature * x.detach()
        optimizer.step()
    optimizer.eval()
    assert (curvature * x.detach() ** 2).sum() < 1e-4


@pytest.mark.parametrize(
    ("rule", "changed", "said"),
    [
        (ScheduleFreeSGD, {"momentum": 0.0}, "optimizer.momentum=0.0 is not possible"),
        (ScheduleFreeSGD, {"r": -1.0}, "optimizer.r=-1.0"),
        (ScheduleFreeSGD, {"weight_lr_power": float("inf")}, "optimizer.weight_lr_power=inf"),
        (ScheduleFreeAdamW, {"betas": [0.0, 0.9]}, r"optimizer.betas=\[0.0, 0.9\] is not possible"),
        (ScheduleFreeAdamW, {"cautious": True}, "optimizer.cautious=true is not possible for ScheduleFreeAdamW"),
    ],
)
def test_values_of_its_own_out_of_range_are_named(rule, changed, said):
    with pytest.raises(ConfigError, match=said):
        rule(parameters(), **changed)


@pytest.mark.parametrize("rule", RULES)
def test_what_would_be_lost_is_not_saved(rule):
    params = parameters()
    optimizer = rule(params)
    run(optimizer, params, 3)
    optimizer.eval()
    with pytest.raises(RuntimeError, match=r"call train\(\) before state_dict\(\)"):
        optimizer.state_dict()
    with pytest.raises(RuntimeError, match=r"call train\(\) before step\(\)"):
        optimizer.step()
    optimizer.train()
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.eval()
    evaluated = [p.detach().clone() for p in params]
    optimizer.load_state_dict(saved)
    optimizer.train()  # what was put aside before the load is of the past
    assert all(map(torch.equal, params, evaluated))


@pytest.mark.parametrize("rule", RULES)
def test_a_schedule_that_takes_all_momentum_away_is_a_mistake(rule):
    params = parameters()
    optimizer = rule(params)
    run(optimizer, params, 2)
    h = optimizer.param_groups[0]
    h.update({"betas": [0.0, 0.9]} if "betas" in h else {"momentum": 0.0})
    with pytest.raises(ConfigError, match=r"schedule\.min_momentum=0"):
        run(optimizer, params, 1, start=2)
