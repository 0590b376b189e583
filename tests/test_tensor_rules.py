"""The rules that look at a whole tensor, or at all of them: each against formulas and libraries that are not ours."""

import math
import pickle
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import pytorch_optimizer
import torch
from contract import SHAPES, parameters, run, set_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Lasso
from torch import nn

from steepest.errors import ConfigError
from steepest.optimizers.adafactor import Adafactor
from steepest.optimizers.coordinate_descent import CoordinateDescent
from steepest.optimizers.lamb import LAMB
from steepest.optimizers.lars import LARS
from steepest.optimizers.mirror_descent import MirrorDescent, half_square_gradient
from steepest.optimizers.prodigy import Prodigy

FILLED = [shape for shape in SHAPES if 0 not in shape]
PRECISIONS = [(torch.float64, 1e-12), (torch.float32, 2e-6)]


def assert_same_path(optimizer, ours, twin, theirs, tolerance, steps=50):
    for step in range(steps):
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = a.grad.clone()
        optimizer.step()
        twin.step()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def optax_paths(cases):
    """What optax makes of each (transformation of optax as text, parameters, gradients of each step): [steps, ...].

    In a process of its own: other tests fork, which JAX's threads would not survive.
    """
    data = [
        (text, [p.numpy() for p in start], [[g.numpy() for g in of] for of in given]) for text, start, given in cases
    ]
    ran = subprocess.run([sys.executable, "-c", OPTAX], input=pickle.dumps(data), capture_output=True, check=True)
    return pickle.loads(ran.stdout)


OPTAX = """
import os, pickle, sys
os.environ["JAX_PLATFORMS"] = "cpu"
import jax, optax
jax.config.update("jax_enable_x64", True)
found = []
for text, params, gradients in pickle.load(sys.stdin.buffer):
    transformation = eval(text)
    params = [jax.numpy.asarray(p) for p in params]
    state, path = transformation.init(params), []
    for given in gradients:
        updates, state = transformation.update([jax.numpy.asarray(g) for g in given], state, params)
        params = optax.apply_updates(params, updates)
        path.append([jax.device_get(p) for p in params])
    found.append(path)
sys.stdout.buffer.write(pickle.dumps(found))
"""


def assert_optax_paths(cases, steps=50):
    """Hold each (what makes our optimizer, dtype of the parameters, optax's transformation) against optax."""
    asked, ours = [], []
    for make, dtype, text in cases:
        params = parameters(dtype)
        start, optimizer = [p.detach().clone() for p in params], make(params)
        given, path = [], []
        for step in range(steps):
            set_gradients(params, step)
            given.append([p.grad.clone() for p in params])
            optimizer.step()
            path.append([p.detach().clone() for p in params])
        asked.append((text, start, given))
        ours.append(path)
    for (_, dtype, _), path, theirs in zip(cases, ours, optax_paths(asked), strict=True):
        tolerance = dict(PRECISIONS)[dtype]
        for mine, other in zip(path, theirs, strict=True):
            for a, b in zip(mine, other, strict=True):
                assert str(a.dtype).endswith(str(b.dtype))
                np.testing.assert_allclose(a.numpy(), b, rtol=tolerance, atol=tolerance)


def assert_follows(optimizer, params, formula, steps=25, lr=None):
    """Hold a rule against `formula(x, g, state, t, lr)`, on each tensor as a NumPy array of float64."""
    xs, states = [p.detach().numpy().copy() for p in params], [{} for _ in params]
    for t in range(1, steps + 1):
        if lr is not None:
            optimizer.param_groups[0]["lr"] = lr(t)
        set_gradients(params, t)
        now = optimizer.param_groups[0]["lr"]
        xs = [formula(x, p.grad.numpy(), s, t, now) for x, p, s in zip(xs, params, states, strict=True)]
        optimizer.step()
        for p, x in zip(params, xs, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), x, rtol=1e-11, atol=1e-11)


def norm(x):
    return math.sqrt(float(np.sum(np.square(x))))


# --- LAMB


@pytest.mark.contract("equals its twin", "lamb")
def test_lamb_is_optaxs():
    assert_optax_paths(
        [
            (
                partial(LAMB, lr=0.01, betas=(0.9, 0.99), weight_decay=decay),
                dtype,
                f"optax.lamb(0.01, 0.9, 0.99, eps=1e-6, weight_decay={decay})",
            )
            for decay in (0.0, 0.1)
            for dtype, _ in PRECISIONS
        ]
    )


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_lamb_with_a_trust_ratio_of_1_is_adamw(dtype, tolerance):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = LAMB(ours, lr=0.01, trust_bounds=(1.0, 1.0), weight_decay=0.1)
    twin = torch.optim.AdamW(theirs, lr=0.01, eps=1e-6, weight_decay=0.1)
    assert_same_path(optimizer, ours, twin, theirs, tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize(
    ("options", "own"),
    # pytorch_optimizer has no bias correction of m and v, which neither counts without averages, nor as a factor of u.
    [
        ({"betas": (0.0, 0.0), "weight_decay": 0.1}, {"weight_decouple": False}),
        ({"betas": (0.9, 0.99), "weight_decay": 0.0}, {"adam_debias": True}),
    ],
)
def test_lamb_has_the_trust_ratio_of_a_library(dtype, tolerance, options, own):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = LAMB(ours, lr=0.01, eps=0.0, **options)
    twin = pytorch_optimizer.Lamb(theirs, lr=0.01, eps=0.0, **options, **own)
    assert_same_path(optimizer, ours, twin, theirs, tolerance)


@given(lr=st.floats(1e-4, 0.5), scale=st.floats(1e-3, 1e3))
@settings(max_examples=20, deadline=None)
def test_a_step_of_lamb_is_as_long_as_lr_times_the_tensor(lr, scale):
    (p,) = parameters(shapes=[(4, 3)])
    before = p.detach().clone()
    optimizer = LAMB([p], lr=lr)
    p.grad = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * scale
    optimizer.step()
    assert (p.detach() - before).norm().item() == pytest.approx(lr * before.norm().item())


def test_lamb_moves_a_tensor_of_zeros_as_adam_does_and_stays_where_nothing_pulls():
    zeros, still = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    optimizer = LAMB([zeros, still], lr=0.5, weight_decay=0.0)
    zeros.grad, still.grad = torch.tensor([1.0, -2.0, 4.0]), torch.zeros(3)
    optimizer.step()
    torch.testing.assert_close(zeros.detach(), torch.tensor([-0.5, 0.5, -0.5]))
    assert torch.equal(still, torch.ones(3))


@pytest.mark.parametrize(("bounds", "ratio"), [((0.0, 0.1), 0.1), ((2.0, 5.0), 2.0), ((0.5, 3.0), 1.0)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_lambs_ratio_lies_within_its_bounds_where_a_norm_is_0_too(bounds, ratio, value):
    """A tensor of zeros is pulled by 1, one of ones by its decay alone, whose own norm is nought for a decay of 0."""
    p = nn.Parameter(torch.full((3,), value, dtype=torch.float64))
    optimizer = LAMB([p], lr=0.5, trust_bounds=bounds, weight_decay=0.0, eps=0.0 if value == 0 else 1e-6)
    p.grad = torch.full_like(p, 1.0 - value)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.full_like(p, value - 0.5 * ratio * (1.0 - value)))


# --- LARS


@pytest.mark.contract("equals its twin", "lars")
def test_lars_without_decay_is_optaxs_whatever_lr_does():
    """With decay optax's rate has |g + w x| in it, the paper's |g| + w |x|."""

    def falling(params):
        optimizer = LARS(params, lr=0.1, trust_coefficient=0.02)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        optimizer.register_step_post_hook(lambda *_: schedule.step())
        return optimizer

    theirs = "optax.lars(lambda t: 0.1 * 0.9**t, trust_coefficient=0.02, momentum=0.9)"
    assert_optax_paths([(falling, dtype, theirs) for dtype, _ in PRECISIONS])


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_that_of_a_library_while_lr_is_constant(dtype, tolerance, decay):
    matrices = [shape for shape in SHAPES if len(shape) > 1]  # the library leaves vectors to SGD
    ours, theirs = parameters(dtype, matrices), parameters(dtype, matrices)
    optimizer = LARS(ours, lr=0.1, trust_coefficient=0.02, weight_decay=decay)
    twin = pytorch_optimizer.LARS(theirs, lr=0.1, trust_coefficient=0.02, weight_decay=decay)
    assert_same_path(optimizer, ours, twin, theirs, tolerance)


@given(scale=st.floats(1e-6, 1e6))
@settings(max_examples=20, deadline=None)
def test_the_first_step_of_lars_does_not_depend_on_the_size_of_the_gradient(scale):
    (p,) = parameters(shapes=[(4, 3)])
    before = p.detach().clone()
    optimizer = LARS([p], lr=0.5)
    p.grad = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * scale
    optimizer.step()
    assert (p.detach() - before).norm().item() == pytest.approx(0.5 * 1e-3 * before.norm().item())


def test_lars_lets_a_tensor_of_zeros_go_and_stays_where_nothing_pulls():
    zeros, still, both = (nn.Parameter(torch.full((2,), value)) for value in (0.0, 1.0, 0.0))
    optimizer = LARS([zeros, still, both], lr=0.5)
    zeros.grad, still.grad, both.grad = torch.tensor([1.0, -2.0]), torch.zeros(2), torch.zeros(2)
    optimizer.step()
    torch.testing.assert_close(zeros.detach(), torch.tensor([-0.5, 1.0]))
    assert torch.equal(still, torch.ones(2))
    assert torch.equal(both, torch.zeros(2))


# --- Adafactor


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("options", [{}, {"lr": 0.3, "beta2_decay": -0.5, "eps": (1e-4, 0.1)}])
@pytest.mark.contract("equals its twin", "adafactor")
def test_adafactor_is_torchs(dtype, tolerance, decay, options):
    ours, theirs = parameters(dtype, FILLED), parameters(dtype, FILLED)  # torch divides by 0 where a tensor is empty
    optimizer = Adafactor(ours, weight_decay=decay, clip_threshold=1.5, **options)
    twin = torch.optim.Adafactor(theirs, weight_decay=decay, d=1.5, **options)
    assert_same_path(optimizer, ours, twin, theirs, tolerance)


def test_adafactor_is_the_papers_where_its_eps_is_small():
    """Algorithms 4 and 5: sums instead of means, and eps1 = 1e-30 beside the square of the gradient."""

    def adafactor(x, g, s, t, lr):
        alpha = max(1e-3, norm(x) / math.sqrt(x.size)) * min(1e-2, 1 / math.sqrt(t))
        b = 1 - t**-0.8
        square = g**2 + 1e-30
        if x.ndim > 1:
            s["R"] = b * s.get("R", 0.0) + (1 - b) * square.sum(-1, keepdims=True)
            s["C"] = b * s.get("C", 0.0) + (1 - b) * square.sum(-2, keepdims=True)
            v = s["R"] * s["C"] / s["R"].sum(-2, keepdims=True)
        else:
            v = s["v"] = b * s.get("v", 0.0) + (1 - b) * square
        u = g / np.sqrt(v)
        return x - alpha * u / max(1.0, norm(u) / math.sqrt(u.size))

    params = parameters(shapes=FILLED)
    assert_follows(Adafactor(params, eps=(1e-30, 1e-3)), params, adafactor)


def test_adafactor_keeps_a_row_and_a_column_of_a_matrix_and_is_exact_where_these_say_all():
    rows, columns = torch.tensor([1.0, 5.0, 0.2]), torch.tensor([2.0, 0.1])
    p = nn.Parameter(torch.ones(3, 2))
    optimizer = Adafactor([p], lr=0.1)
    p.grad = rows[:, None] * columns * torch.tensor([1.0, -1.0])
    optimizer.step()
    assert {key: s.shape for key, s in optimizer.state[p].items() if key != "step"} == {"R": (3, 1), "C": (1, 2)}
    torch.testing.assert_close(p.detach(), 1 - 0.1 * p.grad.sign())


def test_adafactor_takes_no_longer_steps_for_a_sudden_gradient():
    p = nn.Parameter(torch.ones(10, dtype=torch.float64))
    optimizer = Adafactor([p], lr=0.01)
    for _ in range(20):
        p.grad = torch.ones_like(p)
        optimizer.step()
    before = p.detach().clone()
    p.grad = torch.full_like(p, 1e6)
    optimizer.step()
    assert (before - p.detach()).square().mean().sqrt() <= 0.01 * before.square().mean().sqrt() * (1 + 1e-12)


# --- Prodigy


@pytest.fixture
def float64_by_default():
    """pytorch_optimizer sums in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


PRODIGIES = [
    {},
    {"weight_decay": 0.1},
    {"d0": 1e-3, "d_coefficient": 0.5, "beta3": 0.9},
    {"d0": 1e-3, "growth_rate": 1.05},
    {"bias_correction": True, "safeguard_warmup": True, "d0": 1e-2, "lr": 0.5, "betas": (0.8, 0.95), "eps": 1e-4},
]


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize("options", PRODIGIES)
@pytest.mark.contract("equals its twin", "prodigy")
def test_prodigy_is_that_of_a_library(options):
    ours, theirs = parameters(), parameters()
    optimizer = Prodigy([{"params": ours[:2]}, {"params": ours[2:]}], **options)
    theirs_options = {"d_coef" if key == "d_coefficient" else key: value for key, value in options.items()}
    twin = pytorch_optimizer.Prodigy([{"params": theirs[:2]}, {"params": theirs[2:]}], **theirs_options)
    assert_same_path(optimizer, ours, twin, theirs, 1e-12)
    assert optimizer.param_groups[1]["d"] == pytest.approx(twin.param_groups[1]["d"], rel=1e-10)
    assert optimizer.param_groups[1]["d"] > options.get("d0", 1e-6)


@pytest.mark.parametrize("options", PRODIGIES)
@pytest.mark.contract("equals its twin", "prodigy")
def test_prodigy_is_that_of_a_library_in_float32(options):
    ours, theirs = parameters(torch.float32), parameters(torch.float32)
    optimizer = Prodigy(ours, **options)
    theirs_options = {"d_coef" if key == "d_coefficient" else key: value for key, value in options.items()}
    assert_same_path(optimizer, ours, pytorch_optimizer.Prodigy(theirs, **theirs_options), theirs, 2e-6)


@pytest.mark.parametrize(("form", "maximize"), [("l2", False), ("l2", True), ("decoupled", False)])
def test_prodigy_is_the_papers_where_eps_is_0(form, maximize):
    """Algorithm 4, over the entries of all parameters as one vector."""
    params = parameters()
    options = {"weight_decay": 0.1, "weight_decay_form": form, "maximize": maximize}
    optimizer = Prodigy(params, d0=1e-3, eps=0.0, betas=(0.9, 0.99), **options)
    x = x0 = torch.cat([p.detach().flatten() for p in params]).numpy().copy()
    b1, b2, d = 0.9, 0.99, 1e-3
    b3 = math.sqrt(b2)
    r, s, m, v = 0.0, np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for step in range(40):
        set_gradients(params, step)
        g = torch.cat([p.grad.flatten() for p in params]).numpy() * (-1 if maximize else 1)
        g = g + 0.1 * x if form == "l2" else g
        r = b3 * r + (1 - b3) * d**2 * np.dot(g, x0 - x)
        s = b3 * s + (1 - b3) * d**2 * g
        m = b1 * m + (1 - b1) * d * g
        v = b2 * v + (1 - b2) * d**2 * g**2
        x = (0.9 * x if form == "decoupled" else x) - d * m / np.sqrt(v)
        d = max(d, r / np.abs(s).sum())
        optimizer.step()
        np.testing.assert_allclose(torch.cat([p.detach().flatten() for p in params]).numpy(), x, rtol=1e-9, atol=1e-10)
    assert optimizer.param_groups[0]["d"] == pytest.approx(d)


def test_prodigy_finds_the_distance_to_the_solution():
    """The estimate never passes the distance in the largest entry, and comes near it."""
    p = nn.Parameter(torch.zeros(4, dtype=torch.float64))
    goal = torch.tensor([3.0, -3.0, 3.0, 3.0], dtype=torch.float64)
    optimizer = Prodigy([p])
    estimates = []
    for _ in range(500):
        p.grad = (p.detach() - goal).sign()
        optimizer.step()
        estimates.append(optimizer.param_groups[0]["d"])
    assert estimates == sorted(estimates)
    assert 0.5 < estimates[-1] <= 3.0
    assert (p.detach() - goal).abs().max() < 1.0


@pytest.mark.parametrize("safeguard", [False, True])
def test_parameters_whose_lr_is_0_say_nothing_of_prodigys_d(safeguard):
    moved, still = parameters(shapes=[(4, 3)]), parameters(shapes=[(5,)], seed=1)
    optimizer = Prodigy([{"params": moved}, {"params": still, "lr": 0.0}], d0=1e-3, safeguard_warmup=safeguard)
    alone = parameters(shapes=[(4, 3)])
    reference = Prodigy(alone, d0=1e-3, safeguard_warmup=safeguard)
    before = still[0].detach().clone()
    for step in range(20):
        set_gradients(moved, step)
        set_gradients(still, step)
        optimizer.step()
        run(reference, alone, 1, start=step)
    torch.testing.assert_close(moved, alone, rtol=0, atol=0)
    assert optimizer.param_groups[0]["d"] == reference.param_groups[0]["d"] > 1e-3
    assert torch.equal(still[0], before)


def test_prodigy_without_a_gradient_stays():
    p = nn.Parameter(torch.ones(3))
    optimizer = Prodigy([p])
    optimizer.step()
    p.grad = torch.zeros(3)
    optimizer.step()
    assert torch.equal(p, torch.ones(3))
    assert optimizer.param_groups[0]["d"] == 1e-6


# --- mirror descent


def test_the_euclidean_mirror_is_sgd():
    ours, theirs = parameters(), parameters()
    optimizer = MirrorDescent(ours, mirror="euclidean", weight_decay=0.1)
    assert_same_path(optimizer, ours, torch.optim.SGD(theirs, lr=0.1, weight_decay=0.1), theirs, 0.0)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS)
def test_the_p_norm_of_2_is_sgd(dtype, tolerance):
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = MirrorDescent(ours, p=2.0)
    assert_same_path(optimizer, ours, torch.optim.SGD(theirs, lr=0.1), theirs, tolerance)


@given(
    x=st.lists(st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6), min_size=1, max_size=8),
    p=st.floats(1.05, 20.0),
)
@settings(max_examples=100, deadline=None)
def test_the_mirror_and_its_dual_undo_each_other_and_keep_the_norm(x, p):
    x, q = torch.tensor(x, dtype=torch.float64), p / (p - 1)
    dual = half_square_gradient(x, p)
    assert torch.isfinite(dual).all()
    # The norms of a point and of its mirror image are dual to each other, and <x, dual> is their product.
    size = torch.linalg.vector_norm(x / x.abs().max().clamp(min=1e-300), p) * x.abs().max()
    assert torch.dot(x, dual).item() == pytest.approx(size.item() ** 2, rel=1e-9, abs=1e-300)
    kept = dual.abs() > 1e-250 * dual.abs().max()  # a large p sends small entries to 0
    torch.testing.assert_close(half_square_gradient(dual, q)[kept], x[kept], rtol=1e-9, atol=1e-9 * size.item())


@pytest.mark.parametrize("p", [1.1, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("shape", [(), (5,), (3, 2), (2, 3, 2, 2)])
def test_a_step_of_the_p_norm_is_one_in_the_gradient_of_half_its_square(p, shape):
    (x,), (after,) = parameters(shapes=[shape]), parameters(shapes=[shape])
    optimizer = MirrorDescent([after], p=p, lr=0.05)
    set_gradients([after], 0)
    optimizer.step()

    def dual(x):
        x = x.detach().requires_grad_()
        (0.5 * (x.abs() ** p).sum() ** (2 / p)).backward()
        return x.grad

    torch.testing.assert_close(dual(after), dual(x) - 0.05 * after.grad, rtol=1e-10, atol=1e-10)


def test_a_tensor_of_zeros_leaves_0_and_nothing_becomes_nan():
    for dtype in (torch.float32, torch.float64):
        pulled, still, empty = (nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in (3, 3, 0))
        optimizer = MirrorDescent([pulled, still, empty], p=1.2)
        pulled.grad, still.grad, empty.grad = torch.tensor([1.0, -2.0, 0.0], dtype=dtype), still * 0, empty * 0
        optimizer.step()
        assert pulled[0] < 0 < pulled[1]
        assert pulled[2] == 0
        assert torch.equal(still, torch.zeros(3, dtype=dtype))


def test_the_entropy_mirror_multiplies_and_stays_in_the_simplex():
    start = torch.softmax(parameters(shapes=[(2, 3, 4)])[0].detach(), -1)
    p = nn.Parameter(start.clone())
    optimizer = MirrorDescent([p], mirror="entropy", lr=0.3)
    set_gradients([p], 0)
    optimizer.step()
    weights = start * torch.exp(-0.3 * p.grad)
    torch.testing.assert_close(p.detach(), weights / weights.sum(-1, keepdim=True))
    for step in range(1, 30):
        p.grad = torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(step)) * 1e4
        optimizer.step()
        torch.testing.assert_close(p.sum(-1).detach(), torch.ones(2, 3, dtype=p.dtype))
        assert (p >= 0).all()


@pytest.mark.parametrize(
    ("gradient", "minimum"),
    [
        (lambda x: x.new_tensor([0.3, 0.1, 0.5]), [0.0, 1.0, 0.0]),
        (lambda x: x - x.new_tensor([0.5, 0.2, 0.3]), [0.5, 0.2, 0.3]),
        (lambda x: x - x.new_tensor([0.9, 0.5, -0.4]), [0.7, 0.3, 0.0]),
    ],
)
def test_the_entropy_mirror_reaches_the_minimum_of_a_function_on_the_simplex(gradient, minimum):
    p = nn.Parameter(torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64))
    optimizer = MirrorDescent([p], mirror="entropy", lr=0.5)
    for _ in range(400):
        p.grad = gradient(p.detach())
        optimizer.step()
    np.testing.assert_allclose(p.detach().numpy(), minimum, atol=1e-6)


def test_an_entry_that_has_become_0_comes_back():
    p = nn.Parameter(torch.tensor([0.5, 0.5]))
    optimizer = MirrorDescent([p], mirror="entropy", lr=1.0)
    for pull in ([1000.0, 0.0], [-1000.0, 0.0]):
        p.grad = torch.tensor(pull)
        optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("values", [[0.5, 0.6], [1.5, -0.5], [1.0, 0.0], [float("nan"), 1.0]])
def test_the_entropy_mirror_refuses_what_is_not_in_the_simplex(values):
    p = nn.Parameter(torch.tensor(values))
    optimizer = MirrorDescent([p], mirror="entropy")
    p.grad = torch.ones(2)
    with pytest.raises(ConfigError, match=r"optimizer.mirror=entropy is not possible .* not in the simplex"):
        optimizer.step()


# --- coordinate descent


def coordinates(params):
    return torch.cat([p.detach().flatten() for p in params])


def moved(optimizer, params, step):
    """Which coordinates a step moves, over all parameters."""
    before = coordinates(params).clone()
    set_gradients(params, step)
    optimizer.step()
    return set(torch.nonzero(coordinates(params) != before).flatten().tolist())


@pytest.mark.parametrize("order", ["random", "cyclic", "greedy"])
@pytest.mark.parametrize("form", ["l2", "times_lr"])
def test_a_block_of_all_coordinates_is_sgd(order, form):
    ours, theirs = parameters(), parameters()
    options = {"weight_decay": 0.1, "weight_decay_form": form, "order": order}
    optimizer = CoordinateDescent(ours, lr=0.1, block=1.0, **options)
    for step in range(20):
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            with torch.no_grad():
                b.mul_(1 - 0.1 * 0.1 if form == "times_lr" else 1.0)
                b.sub_(0.1 * (a.grad + (0.1 * b if form == "l2" else 0.0)))
        optimizer.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)
    plain, sgd = parameters(), parameters()
    optimizer = CoordinateDescent(plain, lr=0.1, block=1.0, order=order)
    assert_same_path(optimizer, plain, torch.optim.SGD(sgd, lr=0.1), sgd, 0.0)


def test_one_coordinate_after_the_other_with_its_own_lr_solves_a_separable_quadratic_in_n_steps():
    curvature, goal = torch.tensor([1.0, 10.0, 0.1, 5.0]).double(), torch.tensor([3.0, -1.0, 2.0, 7.0]).double()
    params = [nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(4)]
    groups = [{"params": [p], "lr": 1 / c} for p, c in zip(params, curvature.tolist(), strict=True)]
    optimizer = CoordinateDescent(groups, order="cyclic", block=1)
    for _ in range(4):
        for p, c, a in zip(params, curvature, goal, strict=True):
            p.grad = c * (p.detach() - a)
        optimizer.step()
    torch.testing.assert_close(coordinates(params), goal)


@pytest.mark.parametrize(("order", "steps"), [("cyclic", 400), ("random", 2000), ("greedy", 400)])
def test_the_lasso_is_that_of_scikit_learn(order, steps):
    numbers = np.random.default_rng(0)
    features = numbers.normal(size=(60, 8)) + numbers.normal(size=(60, 1))
    target = features @ np.array([3.0, -2.0, 0, 0, 1.0, 0, 0, 0.5]) + numbers.normal(size=60)
    expected = Lasso(alpha=0.2, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(features, target).coef_
    assert 0 < np.count_nonzero(expected) < 8
    A, b = torch.tensor(features), torch.tensor(target)
    params = [nn.Parameter(torch.zeros((), dtype=torch.float64)) for _ in range(8)]
    rates = (60 / A.square().sum(0)).tolist()
    groups = [{"params": [p], "lr": rate} for p, rate in zip(params, rates, strict=True)]
    optimizer = CoordinateDescent(groups, order=order, block=1, l1=0.2)
    hessian, slope = A.T @ A / 60, A.T @ b / 60
    for _ in range(steps):
        for p, g in zip(params, hessian @ coordinates(params) - slope, strict=True):
            p.grad = g
        optimizer.step()
    found = coordinates(params).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found == 0).tolist() == (expected == 0).tolist()


@pytest.mark.parametrize(("block", "count"), [(0.1, 4), (0.001, 1), (1, 1), (5, 5), (1000, 43), (1.0, 43)])
@pytest.mark.parametrize("order", ["random", "cyclic", "greedy"])
def test_a_step_moves_the_block_that_is_asked_for(block, count, order):
    params = parameters(shapes=[(), (3,), (5, 3), (0,), (2, 3, 2, 2)])
    optimizer = CoordinateDescent(params, block=block, order=order)
    assert [len(moved(optimizer, params, step)) for step in range(3)] == [count] * 3


def test_cyclic_goes_round_and_greedy_takes_the_steepest():
    params = parameters(shapes=[(2,), (3,)])
    optimizer = CoordinateDescent(params, block=2, order="cyclic")
    assert [moved(optimizer, params, step) for step in range(4)] == [{0, 1}, {2, 3}, {4, 0}, {1, 2}]
    params = parameters(shapes=[(2,), (3,)])
    optimizer = CoordinateDescent(params, block=2, order="greedy")
    params[0].grad, params[1].grad = torch.tensor([1.0, -7.0]).double(), torch.tensor([0.0, 3.0, -2.0]).double()
    before = coordinates(params).clone()
    optimizer.step()
    assert (coordinates(params) != before).tolist() == [False, True, False, True, False]


def test_greedy_is_not_held_up_by_a_steep_coordinate_that_its_penalty_keeps_at_0():
    p = nn.Parameter(torch.tensor([0.0, 1.0], dtype=torch.float64))
    optimizer = CoordinateDescent([p], lr=0.1, order="greedy", block=1, l1=1.0)
    p.grad = torch.tensor([0.9, -0.5], dtype=torch.float64)
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([0.0, 0.95], dtype=torch.float64))


def test_the_random_order_is_that_of_seed_and_step_alone():
    def draws(seed, steps=6):
        params = parameters(shapes=[(4,), (4, 4)])
        optimizer = CoordinateDescent(params, block=4, seed=seed)
        return [moved(optimizer, params, step) for step in range(steps)]

    torch.manual_seed(1)
    first = draws(0)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert draws(0) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(a == b for a, b in zip(draws(1), first, strict=True))
    assert draws(1)[:5] != first[1:]
    counts = np.bincount([i for draw in draws(0, 200) for i in draw], minlength=20)
    assert counts.min() >= 20  # 40 are expected
    assert counts.max() <= 60


def test_frozen_parameters_are_no_coordinates_and_decay_keeps_to_the_block():
    trained, frozen = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(100), requires_grad=False)
    optimizer = CoordinateDescent([frozen, trained], order="cyclic", block=0.5, weight_decay=0.5)
    for form, step_size in (("times_lr", 0.05), ("decoupled", 0.5)):
        optimizer.param_groups[0]["weight_decay_form"] = form
        before = trained.detach().clone()
        trained.grad = torch.zeros(4)
        optimizer.step()
        shrunk = before * (1 - step_size)
        half = [0, 1] if form == "times_lr" else [2, 3]
        torch.testing.assert_close(trained[half].detach(), shrunk[half])
        assert torch.equal(trained[[2, 3] if half == [0, 1] else [0, 1]], before[[2, 3] if half == [0, 1] else [0, 1]])
    assert torch.equal(frozen, torch.ones(100))
    optimizer.zero_grad()
    optimizer.step()


# --- all of them


@pytest.mark.parametrize(
    ("rule", "changed", "said"),
    [
        (LAMB, {"trust_bounds": [2.0, 1.0]}, r"optimizer.trust_bounds=\[2.0, 1.0\] is not possible"),
        (LAMB, {"trust_bounds": [-1.0, 1.0]}, r"optimizer.trust_bounds=\[-1.0, 1.0\] is not possible"),
        (Adafactor, {"beta2_decay": 0.5}, "optimizer.beta2_decay=0.5 is not possible"),
        (Adafactor, {"eps": [None, None]}, r"optimizer.eps=\[null, null\] is not possible"),
        (Adafactor, {"eps": [-1.0, 1.0]}, r"optimizer.eps=\[-1.0, 1.0\] is not possible"),
        (Adafactor, {"eps": 1e-3}, "optimizer.eps=0.001 is not possible"),
        (Adafactor, {"clip_threshold": 0.5}, "optimizer.clip_threshold=0.5"),
        (Prodigy, {"d0": 0.0}, "optimizer.d0=0.0 is not possible"),
        (Prodigy, {"growth_rate": 0.9}, "optimizer.growth_rate=0.9"),
        (Prodigy, {"beta3": 1.0}, "optimizer.beta3=1.0"),
        (MirrorDescent, {"mirror": "mirror"}, "optimizer.mirror=mirror is unknown; allowed are p_norm"),
        (MirrorDescent, {"p": 1.0}, "optimizer.p=1.0 is not possible"),
        (MirrorDescent, {"p": math.inf}, "optimizer.p=inf is not possible"),
        (MirrorDescent, {"mirror": "entropy", "cautious": True}, "optimizer.cautious=true is not possible"),
        (CoordinateDescent, {"order": "up"}, "optimizer.order=up is unknown"),
        (CoordinateDescent, {"block": 0}, "optimizer.block=0 is not possible"),
        (CoordinateDescent, {"block": 1.5}, "optimizer.block=1.5 is not possible"),
        (CoordinateDescent, {"block": True}, "optimizer.block=true is not possible"),
        (CoordinateDescent, {"l1": -1.0}, "optimizer.l1=-1.0"),
    ],
)
def test_values_of_its_own_out_of_range_are_named(rule, changed, said):
    with pytest.raises(ConfigError, match=said):
        rule(parameters(), **changed)


@pytest.mark.parametrize("rule", [LAMB, LARS, Adafactor, Prodigy, MirrorDescent, CoordinateDescent])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_shape_moves_and_stays_finite_from_zeros_too(rule, dtype):
    params = parameters(dtype) + [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES]
    before = [p.detach().clone() for p in params]
    options = {LAMB: {"lr": 0.1}, LARS: {"lr": 100.0}, Prodigy: {"d0": 0.01}, CoordinateDescent: {"block": 0.9}}
    optimizer = rule(params, **options.get(rule, {}))
    run(optimizer, params, 10)
    for p, start in zip(params, before, strict=True):
        assert torch.isfinite(p).all()
        assert p.numel() == 0 or not torch.equal(p, start)
