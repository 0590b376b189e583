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
    # In bfloat16 beyond 256, where it can no longer count; in float32 beyond the first step of every rhythm.
    cut_at = {torch.float32: 13, torch.bfloat16: 260 if name in RULES else 13}[dtype]
    end = cut_at + 4
    straight = bench(name, dtype)
    for t in range(cut_at):
        straight.step(t)
    file = io.BytesIO()
    torch.save({"optimizer": straight.optimizer.state_dict(), "params": [p.detach() for p in straight.params]}, file)
    for t in range(cut_at, end):
        straight.step(t)
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


@contract("sparse gradients")
def test_a_sparse_gradient_of_a_bfloat16_table_is_the_float32_step_rounded(name):
    low = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).bfloat16())
    high = nn.Parameter(low.detach().float())
    rounded, exact = (make(name, [p], lr=QUADRATIC_LR.get(name, 0.1), weight_decay=0.1) for p in (low, high))
    for step, rows in enumerate([[4, 1], [1, 2], [4, 0]]):
        before = low.detach().clone()
        values = torch.randn(2, 4, generator=torch.Generator().manual_seed(2 + step)).bfloat16()
        low.grad = torch.sparse_coo_tensor([rows], values, (6, 4), check_invariants=True)
        high.grad = torch.sparse_coo_tensor([rows], values.float(), (6, 4), check_invariants=True)
        with torch.no_grad():
            high.copy_(low)
        rounded.step()
        exact.step()
        assert torch.equal(low, high.detach().bfloat16())
        untouched = [row for row in range(6) if row not in rows]
        assert torch.equal(low[untouched], before[untouched])
        assert not torch.equal(low, before)
    for key, value in exact.state[high].items():
        kept = rounded.state[low][key]
        assert torch.equal(torch.as_tensor(kept), torch.as_tensor(value))
        assert not isinstance(kept, torch.Tensor) or kept.dtype == torch.float32


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
    """One frozen from the start and one after a step: neither decay nor what is left of the momentum moves it."""
    made = bench(name, weight_decay=0.1)
    never, later = [p for p in made.params if p.numel() > 1][-2:]
    for t in range(4):
        frozen = {0: [never], 2: [never, later]}.get(t, [])
        for p in frozen:
            p.requires_grad_(False)
        if t == 2:
            before = [p.detach().clone() for p in made.params]
        elif t == 0:
            at_first = never.detach().clone()
        if isinstance(made, Shapes):
            set_gradients(made.params, t)
            for p in made.params:
                p.grad = p.grad if p.requires_grad else None
            made.optimizer.step()
        else:
            made.step(t)
    assert torch.equal(never, at_first)
    assert not made.optimizer.state.get(never)
    moved = [not torch.equal(p, kept) for p, kept in zip(made.params, before, strict=True)]
    assert any(moved)
    assert not any(m for m, p in zip(moved, made.params, strict=True) if p is later)


def summed_cosines(name, params):
    """A loss of tensors of any shapes that has a gradient everywhere; with the divergence, where that is needed."""
    loss = sum(torch.cos(3 * p).sum() for p in params)
    nearby = sum(((p - p.detach()) ** 2).sum() for p in params) / 2
    return (loss, nearby) if getattr(TARGETS[name], "needs_divergence", False) else loss


@contract("shapes from 0-d to 4-d, empty")
def test_tensors_of_every_shape_move_and_stay_finite(name):
    made = Shapes(name)
    before = [p.detach().clone() for p in made.params]
    for t in range(40 if name == "coordinate_descent" else 4):
        if REACH[name] == "closure":
            made.optimizer.step(lambda: summed_cosines(name, made.params))
        else:
            made.step(t)
    for p, kept in zip(made.params, before, strict=True):
        assert p.shape == kept.shape
        assert p.isfinite().all()
        assert torch.equal(p, kept) == (p.numel() == 0)


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


# --- use


@contract("groups with their own lr", [name for name in NODES if REACH[name] != "module"])  # kfac: test_kfac.py
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
    "adamax": 0.3,
    "adan": 0.5,
    "coordinate_descent": 0.3,
    "muon": 0.2,
    "shampoo": 1.0,
    "prodigy": 1.0,
    "lbfgs": 1.0,
    "newton": 1.0,
    "natural_gradient": 0.1,
    "conjugate_gradient": 1.0,
}


class Quadratic(nn.Module):
    """A quadratic of a vector and of the weight of a layer, with its minimum where these are the goals."""

    def __init__(self):
        super().__init__()
        self.x = nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
        self.layer = nn.Linear(2, 3, bias=False, dtype=torch.float64)
        self.x_goal, self.curvature = torch.tensor([[0.5, -0.5], [1.0, 4.0]], dtype=torch.float64)
        self.inputs = torch.tensor([[1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
        self.goal = torch.tensor([[2.0, 1.0], [-1.0, 1.0], [0.5, -2.0]], dtype=torch.float64)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[0.5, 0.0], [0.0, -0.5], [1.0, 1.0]]))

    def forward(self):
        off = self.layer(self.inputs) - self.inputs @ self.goal.T
        return (self.curvature * (self.x - self.x_goal) ** 2).sum() + (off**2).sum()

    def distance(self):
        return max((self.x - self.x_goal).abs().max().item(), (self.layer.weight - self.goal).abs().max().item())


@contract("reaches a quadratic's minimum")
def test_reaches_the_minimum_of_a_quadratic_of_a_vector_and_a_matrix_under_any_torch_scheduler(name):
    quadratic = Quadratic()
    params = list(quadratic.parameters())
    module = {"module": quadratic} if REACH[name] == "module" else {}
    optimizer = make(name, params, lr=QUADRATIC_LR.get(name, 0.1), weight_decay=0.0, **module)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 300)
    assert REACH[name] not in ("matrix", "module") or optimizer.treats_as_matrix(params[1], optimizer.param_groups[0])

    def closure():
        loss = quadratic()
        nearby = sum(((p - p.detach()) ** 2).sum() for p in params) / 2
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
    assert quadratic.distance() < 1e-2


OUT_OF_RANGE = [
    ("lr", -0.1),
    ("lr", float("nan")),
    ("weight_decay", -1.0),
    ("weight_decay_form", "L2"),
    ("momentum", 1.0),
    ("momentum", -0.1),
    ("betas", [0.9, 1.0]),
    ("betas", [-0.1, 0.9]),
    ("eps", -1e-8),
    ("eps", float("nan")),
    ("rho", 1.0),
    ("rho", -0.5),
    ("damping", -1.0),
    ("damping", float("nan")),
    ("trust_coefficient", -1.0),
    ("line_search", "wolfe"),
    ("every", 0),
    ("max_dim", -1),
]


def long_as_its_default(name, key, value):
    """Lists of other lengths than two: three betas, and Adafactor's two numbers of eps."""
    if (name, key) == ("adan", "betas"):
        return [*value, 0.99]
    return [None, value] if (name, key) == ("adafactor", "eps") else value


@pytest.mark.contract("values out of range are named")
@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        pytest.param(name, key, long_as_its_default(name, key, value), id=f"{name}-{key}={value}")
        for name in NODES
        for key, value in OUT_OF_RANGE
        if key in NODES[name]
    ],
)
def test_values_out_of_range_are_named(name, key, value):
    with pytest.raises(ConfigError, match=rf"optimizer\.{key}"):
        make(name, parameters(), **{key: value})
