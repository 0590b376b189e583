"""The contract of an optimizer, on every optimizer of conf/optimizer; see contract.py. Formulas: test_formulas.py."""

import copy
import inspect
import io
import re

import numpy as np
import pytest
import torch
from contract import (
    NODES,
    NOT_APPLICABLE,
    REACH,
    TARGETS,
    Network,
    Shapes,
    bench,
    contract,
    make,
    parameters,
    run,
    set_gradients,
)
from hydra.utils import get_class, get_object
from omegaconf import OmegaConf
from torch import nn
from torch.nn.utils import parameters_to_vector

from steepest.errors import ConfigError
from steepest.optimizers.rule import Rule

NAMES = list(NODES)
RULES = [name for name in NAMES if issubclass(TARGETS[name], Rule)]


@pytest.mark.contract("equals its twin")
@pytest.mark.parametrize("name", ["sgd", "sgd_momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equals_its_twin_step_for_step(name, dtype, tolerance, decay):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = make(name, ours, weight_decay=decay)
    rule = type(optimizer)
    keys = inspect.signature(get_class(rule.twin)).parameters
    own = {key: value for key, value in optimizer.defaults.items() if key in keys}
    twin = get_class(rule.twin)(theirs, **own, **rule.twin_options)
    for step in range(50):
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = a.grad.clone()
        optimizer.step()
        twin.step()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_has_a_twin_or_a_reason_for_none(name):
    exempt = name in NOT_APPLICABLE["equals its twin"]
    assert exempt == (TARGETS[name].twin is None)
    assert exempt or get_object(TARGETS[name].twin) is not TARGETS[name]


def test_momentum_zero_is_plain_sgd():
    for name in ("sgd_momentum", "nesterov", "heavy_ball"):
        a, b = parameters(), parameters()
        run(make(name, a, momentum=0.0), a, 5)
        run(make("sgd", b), b, 5)
        torch.testing.assert_close(a, b, rtol=0, atol=1e-15)


def test_adamw_without_decay_is_adam():
    a, b = parameters(), parameters()
    run(make("adamw", a, weight_decay=0.0), a, 20)
    run(make("adam", b), b, 20)
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_adams_first_step_is_the_sign_of_the_gradient():
    p = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = make("adam", [p], lr=0.5, eps=0.0)
    p.grad = torch.tensor([1e-3, -5.0, 40.0], dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.5, 0.5, -0.5], dtype=torch.float64))


# --- what its files say


@contract("yaml states every hyperparameter")
def test_yaml_states_every_hyperparameter_with_its_default(name):
    target = TARGETS[name]
    shared = inspect.signature(Rule.__init__).parameters if name in RULES else {}
    own = {k: v for k, v in inspect.signature(target).parameters.items() if v.kind is not v.VAR_KEYWORD}
    live = ("self", "params", "defaults", "module")
    expected = {k: v.default for k, v in {**shared, **own}.items() if k not in live}
    stated = {k: v for k, v in OmegaConf.to_container(NODES[name]).items() if not k.startswith("_")}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in expected.items()} == stated


@contract("docstring gives formula and source")
def test_docstring_gives_formula_and_source(name):
    text = TARGETS[name].__doc__
    assert re.search(r"[xyz]_t = |W_t = ", text)
    assert re.search(r"(18|19|20)\d\d", text)


# --- state


@contract("resumes bit for bit")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_in_the_middle_continues_bit_for_bit(name, dtype):
    cut_at, end = (260, 264) if name in RULES else (6, 10)  # beyond 256, where bfloat16 can no longer count
    straight = bench(name, dtype)
    for t in range(end):
        straight.step(t)
    first = bench(name, dtype)
    for t in range(cut_at):
        first.step(t)
    file = io.BytesIO()
    torch.save({"optimizer": first.optimizer.state_dict(), "params": [p.detach() for p in first.params]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = bench(name, dtype)
    with torch.no_grad():
        for p, value in zip(second.params, saved["params"], strict=True):
            p.copy_(value)
    second.optimizer.load_state_dict(saved["optimizer"])
    for t in range(cut_at, end):
        second.step(t)
    assert all(p.isfinite().all() for p in straight.params)
    for a, b in zip(second.params, straight.params, strict=True):
        assert torch.equal(a, b)
        ours, theirs = second.optimizer.state.get(a, {}), straight.optimizer.state.get(b, {})
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            if isinstance(value, torch.Tensor):
                assert ours[key].dtype == value.dtype
                assert torch.equal(ours[key], value)
            else:
                assert ours[key] == value


@contract("loading does not alias")
def test_loading_does_not_alias_the_checkpoint(name):
    made = bench(name)
    for t in range(2):
        made.step(t)
    saved = copy.deepcopy(made.optimizer.state_dict())
    before = copy.deepcopy(saved)
    made.optimizer.load_state_dict(saved)
    for t in range(2, 4):
        made.step(t)
    for i, state in saved["state"].items():
        for key, value in state.items():
            assert np.array_equal(np.asarray(value), np.asarray(before["state"][i][key]))


@contract("copies go on alike")
def test_a_deep_copy_goes_on_as_the_original_does(name):
    made = bench(name)
    made.step(0)
    copied = copy.deepcopy(made)
    for each in (made, copied):
        for t in (1, 2):
            each.step(t)
    assert all(map(torch.equal, made.params, copied.params))
    assert not torch.equal(made.params[1], bench(name).params[1])


@contract("bfloat16 parameters, float32 state")
def test_bfloat16_parameters_keep_a_float32_state_and_follow_the_float32_path(name):
    low = bench(name, torch.bfloat16)
    low.step(0)
    for p in low.params:
        assert p.dtype == torch.bfloat16
        assert p.isfinite().all()
        for value in low.optimizer.state.get(p, {}).values():
            assert not isinstance(value, torch.Tensor) or value.dtype != torch.bfloat16
    if isinstance(low, Network):
        return  # its gradients come out of bfloat16 layers, which no float32 layer's equal
    low = parameters(torch.bfloat16, shapes=[(50,), (6, 5)])
    high = [nn.Parameter(p.detach().float()) for p in low]
    set_gradients(low, 0)
    for a, b in zip(low, high, strict=True):
        b.grad = a.grad.float()
    make(name, low, lr=0.01).step()
    make(name, high, lr=0.01).step()
    for a, b in zip(low, high, strict=True):
        assert torch.equal(a.detach(), b.detach().bfloat16())


@contract("groups hold plain numbers")
def test_param_groups_hold_plain_numbers(name):
    made = bench(name)
    made.step(0)
    for group in made.optimizer.param_groups:
        for key, value in group.items():
            assert key == "params" or not isinstance(value, torch.Tensor)
        assert isinstance(group["lr"], float)


# --- gradients


@contract("sparse gradients")
def test_a_sparse_gradient_moves_touched_rows_alone_and_equals_the_dense_step_when_all_are_touched(name):
    table = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sparse, dense = (nn.Parameter(table.clone()) for _ in range(2))
    lazy, full = (make(name, [p], weight_decay=0.1) for p in (sparse, dense))
    values = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    everywhere = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    for _ in range(3):
        sparse.grad = torch.sparse_coo_tensor(everywhere[None], values[everywhere], (6, 4), check_invariants=True)
        dense.grad = values.clone()
        lazy.step()
        full.step()
    torch.testing.assert_close(sparse, dense)
    before, state = sparse.detach().clone(), copy.deepcopy(lazy.state[sparse])
    # Row 4 comes twice: its gradients add up.
    index = torch.tensor([[4, 1, 4]])
    sparse.grad = torch.sparse_coo_tensor(index, values[[4, 1, 0]], (6, 4), check_invariants=True)
    lazy.step()
    untouched = [0, 2, 3, 5]
    assert torch.equal(sparse[untouched], before[untouched])
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(lazy.state[sparse][key][untouched], value[untouched])
    # The oracle goes row by row: each touched one as a parameter of its own.
    for row, gradient in ((1, values[1]), (4, values[4] + values[0])):
        alone = nn.Parameter(before[row].clone())
        oracle = make(name, [alone], weight_decay=0.1)
        oracle.state[alone].update({k: v[row].clone() if isinstance(v, torch.Tensor) else v for k, v in state.items()})
        alone.grad = gradient
        oracle.step()
        torch.testing.assert_close(sparse[row], alone)


@pytest.mark.parametrize("name", sorted(set(RULES) & set(NOT_APPLICABLE["sparse gradients"])))
def test_a_rule_that_looks_beyond_entries_refuses_sparse_gradients(name):
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = make(name, [p])
    p.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1, 2), (3, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="cannot take a sparse gradient"):
        optimizer.step()


def test_cautious_masks_look_beyond_entries_too():
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = make("adamw", [p], cautious=True)
    p.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1, 2), (3, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="cautious=true"):
        optimizer.step()


@contract("frozen parameters stay")
def test_parameters_without_a_gradient_stay(name):
    made = bench(name)
    frozen = made.params[-1]
    frozen.requires_grad_(False)
    before = [p.detach().clone() for p in made.params]
    for t in range(3):
        if isinstance(made, Shapes):
            set_gradients(made.params[:-1], t)
            made.optimizer.step()
        else:
            made.step(t)
    assert torch.equal(frozen, before[-1])
    assert not made.optimizer.state.get(frozen)
    assert any(not torch.equal(p, kept) for p, kept in zip(made.params[:-1], before[:-1], strict=True))


@contract("shapes from 0-d to 4-d, empty")
def test_every_shape_moves_against_its_gradient_and_stays_finite(name):
    made = bench(name)
    before = [p.detach().clone() for p in made.params]
    for t in range(40 if name == "coordinate_descent" else 4):
        made.step(t)
    for p, kept in zip(made.params, before, strict=True):
        assert p.shape == kept.shape
        assert p.isfinite().all()
    moved = sum(not torch.equal(p, kept) for p, kept in zip(made.params, before, strict=True) if p.numel())
    assert moved == sum(p.numel() > 0 for p in made.params)


@contract("maximize")
def test_maximize_is_the_opposite_gradient(name):
    up = bench(name, maximize=True)
    down = bench(name)
    if isinstance(up, Shapes):
        for t in range(3):
            set_gradients(up.params, t)
            for p, q in zip(up.params, down.params, strict=True):
                q.grad = -p.grad
            up.optimizer.step()
            down.optimizer.step()
        torch.testing.assert_close(up.params, down.params, rtol=0, atol=0)
    else:
        before = up.losses(0)[0] if up.needs_divergence else up.losses(0)
        for _ in range(3):
            up.step(0)
        after = up.losses(0)[0] if up.needs_divergence else up.losses(0)
        assert after > before


@contract("weight decay in three forms", RULES)
@pytest.mark.parametrize("form", ["l2", "times_lr", "decoupled"])
def test_weight_decay_shrinks_parameters_in_every_form(name, form):
    settings = {"weight_decay_form": form, "lr": 1e-3}
    decayed, free = (bench(name, weight_decay=w, **settings) for w in (0.3, 0.0))
    for made in (decayed, free):
        with torch.no_grad():
            for p in made.params:
                p.add_(3)
        for t in range(10):
            made.step(t)
    larger = [p.detach().norm() for p in free.params if p.numel()]
    smaller = [p.detach().norm() for p in decayed.params if p.numel()]
    assert sum(smaller) < sum(larger)


# --- use


@contract("groups with their own lr")
def test_two_groups_keep_their_own_learning_rates(name):
    shapes = [(4,), (3, 2)]
    a, b = parameters(shapes=shapes), parameters(shapes=shapes)
    optimizer = make(name, [{"params": a, "lr": 0.02}, {"params": b}], lr=0.01)
    apart_a, apart_b = parameters(shapes=shapes), parameters(shapes=shapes)
    alone = make(name, apart_a, lr=0.02), make(name, apart_b, lr=0.01)
    for step in range(3):
        for params in (a, b, apart_a, apart_b):
            set_gradients(params, step)
        optimizer.step()
        for other in alone:
            other.step()
    for x, y in zip(a + b, apart_a + apart_b, strict=True):
        assert torch.equal(x, y)
    assert not torch.equal(a[0], b[0])


@contract("runs a closure once")
def test_the_closure_is_run_once_with_gradients_and_its_loss_returned(name):
    p = nn.Parameter(torch.ones(3))
    optimizer = make(name, [p])
    calls = []

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        calls.append(loss.item())
        return loss

    assert optimizer.step(closure).item() == 3.0
    assert calls == [3.0]


QUADRATIC_LR = {
    "adadelta": 30.0,
    "adafactor": 0.3,
    "lars": 30.0,
    "schedule_free_adamw": 0.5,
    "schedule_free_sgd": 0.5,
    "adagrad": 0.5,
    "adan": 0.3,
    "shampoo": 1.0,
    "prodigy": 1.0,
    "lbfgs": 1.0,
    "newton": 1.0,
    "natural_gradient": 0.1,
    "conjugate_gradient": 1.0,
}


@contract("reaches a quadratic's minimum")
def test_reaches_the_minimum_of_a_quadratic_under_any_torch_scheduler(name):
    x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    optimizer = make(name, [x], lr=QUADRATIC_LR.get(name, 0.1))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    curvature = torch.tensor([1.0, 4.0], dtype=torch.float64)

    def closure():
        loss = (curvature * x**2).sum()
        nearby = ((x - x.detach()) ** 2).sum() / 2
        return (loss, nearby) if getattr(optimizer, "needs_divergence", False) else loss

    for _ in range(300):
        if REACH[name] == "closure":
            optimizer.step(closure)
        else:
            optimizer.zero_grad()
            closure().backward()
            optimizer.step()
        scheduler.step()
    optimizer.eval() if getattr(optimizer, "evaluates_elsewhere", False) else None
    assert parameters_to_vector([x]).abs().max() < 1e-2


@contract("values out of range are named")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("lr", -0.1),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("weight_decay_form", "L2"),
        ("momentum", 1.0),
        ("betas", [0.9, 1.0]),
        ("betas", [-0.1, 0.9]),
        ("eps", -1e-8),
        ("rho", 1.0),
        ("damping", -1.0),
        ("trust_coefficient", -1.0),
    ],
)
def test_values_out_of_range_are_named(name, key, value):
    if name == "adan" and key == "betas":
        value = [*value, 0.99]
    if name == "adafactor" and key == "eps":
        value = [None, -1.0]
    if key not in NODES[name]:
        with pytest.raises((TypeError, ConfigError)):
            make(name, parameters(), **{key: value})
    else:
        with pytest.raises(ConfigError, match=rf"optimizer\.{key}"):
            make(name, parameters(), **{key: value})
