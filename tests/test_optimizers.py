"""Every optimizer of conf/optimizer against its formula, its twin and the contract of torch.optim."""

import copy
import inspect
import io
import math
import re

import numpy as np
import pytest
import torch
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn
from torch.nn.utils import parameters_to_vector

from steepest.build import build
from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.optimizers.rule import Rule

NODES = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "optimizer").glob("*.yaml"))}
NAMES = list(NODES)
SHAPES = [(), (3,), (4, 3), (2, 3, 2), (2, 3, 2, 2), (0,)]


def make(name, params, **changed):
    return build(NODES[name], **changed)(params)


def parameters(dtype=torch.float64, seed=0, shapes=SHAPES):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def set_gradients(params, step):
    """Gradients that depend on the point and on the step."""
    generator = torch.Generator().manual_seed(1000 + step)
    for p in params:
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.grad = (torch.sin(3 * p.detach().double()) + noise).to(p.dtype)


def run(optimizer, params, steps, start=0):
    for step in range(start, start + steps):
        set_gradients(params, step)
        optimizer.step()


# --- the formulas, in float64, on one number, written without a look at the rules


def sgd(x, g, s, t, h):
    return x - h["lr"] * g


def sgd_momentum(x, g, s, t, h):
    s["v"] = h["momentum"] * s.get("v", 0.0) + g
    return x - h["lr"] * s["v"]


def nesterov(x, g, s, t, h):
    s["v"] = h["momentum"] * s.get("v", 0.0) + g
    return x - h["lr"] * (g + h["momentum"] * s["v"])


def adam(x, g, s, t, h):
    b1, b2 = h["betas"]
    s["m"] = b1 * s.get("m", 0.0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0.0) + (1 - b2) * g * g
    return x - h["lr"] / (math.sqrt(s["v"] / (1 - b2**t)) + h["eps"]) * s["m"] / (1 - b1**t)


FORMULAS = {"sgd": sgd, "sgd_momentum": sgd_momentum, "nesterov": nesterov, "adam": adam, "adamw": adam}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["l2", "times_lr", "decoupled"])
@given(
    gradients=st.lists(st.floats(-10, 10).filter(lambda g: abs(g) > 1e-6), min_size=1, max_size=12),
    x=st.floats(-3, 3),
    lr=st.floats(1e-4, 1.0),
    decay=st.sampled_from([0.0, 0.1]),
    maximize=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_follows_its_formula_in_float64(name, form, gradients, x, lr, decay, maximize):
    p = nn.Parameter(torch.tensor(x, dtype=torch.float64))
    optimizer = make(name, [p], lr=lr, weight_decay=decay, weight_decay_form=form, maximize=maximize)
    h, s = optimizer.param_groups[0], {}
    for t, gradient in enumerate(gradients, start=1):
        g = -gradient if maximize else gradient
        if form == "l2":
            g += decay * x
        else:
            x *= 1 - (lr * decay if form == "times_lr" else decay)
        x = FORMULAS[name](x, g, s, t, h)
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.step()
    assert p.item() == pytest.approx(x, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_equals_its_twin_step_for_step(name, dtype, tolerance, decay):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = make(name, ours, weight_decay=decay)
    rule = type(optimizer)
    if rule.twin is None:
        pytest.skip(f"{name} names no independent implementation; its formula is tested above")
    own = {key: value for key, value in optimizer.defaults.items() if key not in ("weight_decay_form", "cautious")}
    twin = get_class(rule.twin)(theirs, **own, **rule.twin_options)
    for step in range(50):
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = a.grad.clone()
        optimizer.step()
        twin.step()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_momentum_zero_is_plain_sgd():
    for name in ("sgd_momentum", "nesterov"):
        a, b = parameters(), parameters()
        run(make(name, a, momentum=0.0), a, 5)
        run(make("sgd", b), b, 5)
        torch.testing.assert_close(a, b, rtol=0, atol=0)


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


# --- the contract


@pytest.mark.parametrize("name", NAMES)
def test_yaml_states_every_hyperparameter_with_its_default(name):
    rule = get_class(NODES[name]["_target_"])
    shared = inspect.signature(Rule.__init__).parameters
    own = {k: v for k, v in inspect.signature(rule).parameters.items() if v.kind is not v.VAR_KEYWORD}
    expected = {k: v.default for k, v in {**shared, **own}.items() if k not in ("self", "params", "defaults")}
    stated = {k: v for k, v in OmegaConf.to_container(NODES[name]).items() if not k.startswith("_")}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in expected.items()} == stated


@pytest.mark.parametrize("name", NAMES)
def test_docstring_gives_formula_and_source(name):
    text = get_class(NODES[name]["_target_"]).__doc__
    assert re.search(r"x_t = ", text)
    assert re.search(r"(18|19|20)\d\d", text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_checkpoint_in_the_middle_continues_bit_for_bit(name, dtype):
    straight = parameters(dtype)
    whole = make(name, straight)
    run(whole, straight, 300)
    cut = parameters(dtype)
    first = make(name, cut)
    run(first, cut, 260)  # beyond 256, where bfloat16 can no longer count
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "params": [p.detach() for p in cut]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = [nn.Parameter(p.clone()) for p in saved["params"]]
    second = make(name, resumed)
    second.load_state_dict(saved["optimizer"])
    run(second, resumed, 40, start=260)
    torch.testing.assert_close(resumed, straight, rtol=0, atol=0)
    for a, b in zip(resumed, straight, strict=True):
        assert second.state[a].keys() == whole.state[b].keys()
        for key, value in whole.state[b].items():
            if isinstance(value, torch.Tensor):
                assert second.state[a][key].dtype == value.dtype
                assert torch.equal(second.state[a][key], value)


@pytest.mark.parametrize("name", NAMES)
def test_loading_does_not_alias_the_checkpoint(name):
    params = parameters()
    optimizer = make(name, params)
    run(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    before = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    run(optimizer, params, 2, start=2)
    for i, state in saved["state"].items():
        for key, value in state.items():
            assert np.array_equal(np.asarray(value), np.asarray(before["state"][i][key]))


@pytest.mark.parametrize("name", NAMES)
def test_bfloat16_parameters_keep_a_float32_state_and_follow_the_float32_path(name):
    low = parameters(torch.bfloat16, shapes=[(50,)])
    optimizer = make(name, low, lr=0.01)
    high = [nn.Parameter(p.detach().float()) for p in low]
    reference = make(name, high, lr=0.01)
    set_gradients(low, 0)
    for a, b in zip(low, high, strict=True):
        b.grad = a.grad.float()
    optimizer.step()
    reference.step()
    for a, b in zip(low, high, strict=True):
        assert torch.equal(a.detach(), b.detach().bfloat16())
        for value in optimizer.state[a].values():
            assert not isinstance(value, torch.Tensor) or value.dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_a_sparse_gradient_moves_touched_rows_alone_and_equals_the_dense_step_when_all_are_touched(name):
    table = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    sparse, dense, rows = (nn.Parameter(table.clone()) for _ in range(3))
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
    rows.data.copy_(before)
    oracle = make(name, [rows], weight_decay=0.1)
    oracle.state[rows].update(copy.deepcopy(state))
    rows.grad = torch.zeros(6, 4, dtype=torch.float64).index_add_(0, index[0], values[[4, 1, 0]])
    oracle.step()
    torch.testing.assert_close(sparse[[1, 4]], rows[[1, 4]])


@pytest.mark.parametrize("name", NAMES)
def test_two_groups_keep_their_own_learning_rates(name):
    a, b = parameters(shapes=[(4,)]) + parameters(shapes=[(4,)])
    optimizer = make(name, [{"params": [a], "lr": 0.02}, {"params": [b]}], lr=0.01)
    apart_a, apart_b = parameters(shapes=[(4,)]), parameters(shapes=[(4,)])
    alone = make(name, apart_a, lr=0.02), make(name, apart_b, lr=0.01)
    for step in range(3):
        for params in ([a], [b], apart_a, apart_b):
            set_gradients(params, step)
        optimizer.step()
        for other in alone:
            other.step()
    assert torch.equal(a, apart_a[0])
    assert torch.equal(b, apart_b[0])
    assert not torch.equal(a, b)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_without_a_gradient_stay(name):
    params = parameters()
    optimizer = make(name, params, weight_decay=0.1)
    set_gradients(params, 0)
    params[1].grad = None
    frozen = params[1].detach().clone()
    optimizer.step()
    assert torch.equal(params[1], frozen)
    assert params[1] not in optimizer.state


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", NAMES)
def test_param_groups_hold_plain_numbers(name):
    optimizer = make(name, parameters())
    for value in optimizer.param_groups[0].values():
        assert not isinstance(value, torch.Tensor) or value is None
    assert isinstance(optimizer.param_groups[0]["lr"], float)


@pytest.mark.parametrize("name", NAMES)
def test_reaches_the_minimum_of_a_quadratic_under_any_torch_scheduler(name):
    x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    optimizer = make(name, [x], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    for _ in range(300):
        optimizer.zero_grad()
        (torch.tensor([1.0, 4.0]) * x**2).sum().backward()
        optimizer.step()
        scheduler.step()
    assert parameters_to_vector([x]).abs().max() < 1e-2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"lr": -0.1}, "optimizer.lr=-0.1"),
        ({"lr": float("nan")}, "optimizer.lr=nan"),
        ({"weight_decay": -1.0}, "optimizer.weight_decay=-1.0"),
        ({"weight_decay_form": "L2"}, "weight_decay_form=L2"),
        ({"momentum": 1.0}, "optimizer.momentum=1.0"),
        ({"betas": [0.9, 1.0]}, "optimizer.betas=[0.9, 1.0]"),
        ({"betas": [-0.1, 0.9]}, "optimizer.betas=[-0.1, 0.9]"),
        ({"eps": -1e-8}, "optimizer.eps=-1e-08"),
    ],
)
def test_values_out_of_range_are_named(name, changed, said):
    if next(iter(changed)) not in NODES[name]:
        with pytest.raises(TypeError):
            make(name, parameters(), **changed)
    else:
        with pytest.raises(ConfigError, match=re.escape(said)):
            make(name, parameters(), **changed)


def test_a_rule_that_looks_beyond_entries_refuses_sparse_gradients():
    class Norm(Rule):
        reach = "tensor"

        def update(self, p, g, state, h):
            p.sub_(h["lr"] * g / g.norm())

    p = nn.Parameter(torch.ones(3, 2))
    optimizer = Norm([p], {"lr": 0.1})
    p.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.ones(1, 2), (3, 2), check_invariants=True)
    with pytest.raises(RuntimeError, match="cannot take a sparse gradient"):
        optimizer.step()
