"""Muon, Shampoo and SOAP against independent implementations, float64 oracles and what must hold of them."""

import math
import re

import numpy as np
import pytest
import pytorch_optimizer
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn

from steepest.errors import ConfigError
from steepest.optimizers.matrix_rule import along, eigh, outer
from steepest.optimizers.muon import Muon, newton_schulz, step_scale
from steepest.optimizers.shampoo import Shampoo
from steepest.optimizers.soap import SOAP, refreshed

RULES = [Muon, Shampoo, SOAP]
MATRICES = [(4, 3), (3, 5), (1, 6), (6, 1)]
KERNELS = [(2, 3, 2), (2, 3, 2, 2)]
VECTORS = [(), (3,), (0,)]
FULL_RANK = [(4, 3), (4, 4), (3, 4), *KERNELS]  # SOAP's basis for eigenvalues that are 0 several times is anyone's
EMPTY = [(0, 3), (3, 0), (2, 0, 3), (0, 0)]
PRECISIONS = pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)])


def rand(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def parameters(shapes, dtype=torch.float64):
    return [nn.Parameter(rand(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(shapes)]


def set_gradients(params, step):
    for i, p in enumerate(params):
        noise = rand(*p.shape, seed=1000 + 50 * step + i)
        p.grad = (torch.sin(3 * p.detach().double()) + noise).to(p.dtype)


def run(optimizer, params, steps, start=0):
    for step in range(start, start + steps):
        set_gradients(params, step)
        optimizer.step()


def hold_together(ours, optimizer, theirs, twin, tolerance, steps=50, before_twin=lambda: None):
    for step in range(steps):
        set_gradients(ours, step)
        for a, b in zip(ours, theirs, strict=True):
            b.grad = a.grad.clone()
        optimizer.step()
        before_twin()
        twin.step()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def step_of(rule, gradients, **changed):
    """The last of the steps that these gradients cause, from a parameter that stays at 0 until then."""
    p = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = rule([p], weight_decay=0.0, **changed)
    for g in gradients:
        p.data.zero_()
        p.grad = g.clone()
        optimizer.step()
    return p.detach()


# --- what is a matrix


@pytest.mark.parametrize("rule", RULES)
def test_vectors_and_groups_with_matrix_false_go_to_the_element_rule(rule):
    table, kernel, matrix, vector, number = parameters([(4, 3), (2, 3, 2, 2), (1, 6), (3,), ()])
    optimizer = rule([{"params": [table], "matrix": False}, {"params": [kernel, matrix, vector, number]}])
    embeddings, rest = optimizer.param_groups
    assert not optimizer.treats_as_matrix(table, embeddings)
    assert [optimizer.treats_as_matrix(p, rest) for p in rest["params"]] == [True, True, False, False]
    run(optimizer, [table, kernel, matrix, vector, number], 3)
    assert all(s.shape == (4, 3) for s in optimizer.state[table].values() if isinstance(s, torch.Tensor))


@PRECISIONS
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("rule", [Muon, SOAP])
def test_what_is_no_matrix_goes_to_adamw(rule, decay, dtype, tolerance):
    shapes = VECTORS + MATRICES + KERNELS
    ours, theirs = parameters(shapes, dtype), parameters(shapes, dtype)
    eps = {"adam_eps" if rule is Muon else "eps": 1e-3}
    optimizer = rule(ours, betas=(0.9, 0.99), matrix=False, weight_decay=decay, **eps)
    lr = optimizer.param_groups[0]["lr"]
    twin = torch.optim.AdamW(theirs, lr=lr, betas=(0.9, 0.99), eps=1e-3, weight_decay=decay)
    hold_together(ours, optimizer, theirs, twin, tolerance)


@PRECISIONS
def test_what_is_no_matrix_goes_to_adagrad_in_shampoo(dtype, tolerance):
    shapes = VECTORS + MATRICES + KERNELS
    ours, theirs = parameters(shapes, dtype), parameters(shapes, dtype)
    optimizer = Shampoo(ours, momentum=0.0, eps=1e-3, matrix=False)
    twin = torch.optim.Adagrad(theirs, lr=0.3, initial_accumulator_value=1e-3, eps=0.0)
    hold_together(ours, optimizer, theirs, twin, tolerance)


# --- what every matrix rule must hold


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_shape_stays_finite_with_a_state_in_float32(rule, dtype):
    params = parameters(VECTORS + MATRICES + KERNELS + EMPTY, dtype)
    before = [p.detach().clone() for p in params]
    optimizer = rule(params, lr=0.1, **({} if rule is Muon else {"max_dim": 5}))
    run(optimizer, params, 13)
    for p, start in zip(params, before, strict=True):
        assert p.isfinite().all()
        assert torch.equal(p, start) == (p.numel() == 0)
        assert all(s.dtype == torch.float32 for s in optimizer.state[p].values() if isinstance(s, torch.Tensor))


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_that_is_not_finite_is_seen_in_the_weights_and_does_not_crash(rule):
    p = nn.Parameter(rand(4, 3))
    optimizer = rule([p])
    run(optimizer, [p], 3)
    for _ in range(10):
        p.grad = torch.full((4, 3), torch.nan, dtype=torch.float64)
        optimizer.step()
    assert p.isnan().any()


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_of_zero_moves_nothing(rule):
    p = nn.Parameter(rand(4, 3))
    before, optimizer = p.detach().clone(), rule([p], weight_decay=0.0)
    for _ in range(12):
        p.grad = torch.zeros_like(p)
        optimizer.step()
    assert torch.equal(p, before)


@pytest.mark.parametrize("rule", RULES)
def test_the_gradient_is_left_as_it_is(rule):
    p = nn.Parameter(rand(4, 3))
    optimizer = rule([p], weight_decay=0.0)
    for _ in range(3):
        p.grad = rand(4, 3, seed=5)
        optimizer.step()
        assert torch.equal(p.grad, rand(4, 3, seed=5))


@pytest.mark.parametrize(
    ("rule", "exact"), [(Muon, {"ns_dtype": "float64"}), (Shampoo, {"every": 1, "eps": 1e-8}), (SOAP, {})]
)
@given(seed=st.integers(0, 10**6), shape=st.sampled_from([(4, 3), (3, 4), (4, 4), (1, 2)]))
@settings(max_examples=20, deadline=None)
def test_rotated_gradients_give_the_rotated_step(rule, exact, seed, shape):
    q, r = (torch.linalg.qr(rand(n, n, seed=seed + i))[0] for i, n in enumerate(shape))
    gradients = [rand(*shape, seed=seed + 100 + i) for i in range(2)]
    step = step_of(rule, gradients, **exact)
    turned = step_of(rule, [q @ g @ r.T for g in gradients], **exact)
    assert step.abs().max() > 0
    torch.testing.assert_close(turned, q @ step @ r.T, rtol=1e-6, atol=1e-6 * step.abs().max().item())


@pytest.mark.parametrize(
    ("rule", "changed", "said"),
    [
        (
            Muon,
            {"ns_dtype": "float16"},
            "optimizer.ns_dtype=float16 is unknown; allowed are bfloat16, float32, float64.",
        ),
        (Muon, {"adjust_lr": "rms"}, "optimizer.adjust_lr=rms is unknown; allowed are original, match_rms_adamw."),
        (Muon, {"ns_coefficients": [1.5, -0.5]}, "optimizer.ns_coefficients=[1.5, -0.5] is not possible"),
        (Muon, {"ns_steps": -1}, "optimizer.ns_steps=-1"),
        (Muon, {"adam_eps": -1.0}, "optimizer.adam_eps=-1.0"),
        (Shampoo, {"beta2": 1.1}, "optimizer.beta2=1.1 is not possible; allowed is a number from 0 to 1."),
        (Shampoo, {"beta2": math.nan}, "optimizer.beta2=nan"),
        (SOAP, {"shampoo_beta": 1.0}, "optimizer.shampoo_beta=1.0"),
    ],
)
def test_values_of_its_own_out_of_range_are_named(rule, changed, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        rule(parameters([(2, 2)]), **changed)


@pytest.mark.parametrize("rule", RULES)
def test_a_small_network_learns_the_digits_with_the_defaults(rule):
    images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    images, order = images.float() / 16, torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    train, test = order[:1437], order[1437:]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = rule(model.parameters())
    for step in range(300):
        batch = train[torch.randint(1437, (128,), generator=torch.Generator().manual_seed(step))]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimizer.step()
    assert (model(images[test]).argmax(1) == labels[test]).float().mean() > 0.9


# --- Muon


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.contract("equals its twin", "muon")
def test_muon_equals_torchs_bit_for_bit(adjust, nesterov, decay, dtype):
    ours, theirs = parameters(MATRICES, dtype), parameters(MATRICES, dtype)
    optimizer = Muon(ours, lr=0.02, nesterov=nesterov, adjust_lr=adjust, weight_decay=decay)
    twin = torch.optim.Muon(theirs, lr=0.02, nesterov=nesterov, adjust_lr_fn=adjust, weight_decay=decay)
    hold_together(ours, optimizer, theirs, twin, 0)


@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    scale=st.sampled_from([1e-5, 1, 1e5]),
)
@settings(max_examples=50, deadline=None)
def test_newton_schulz_moves_the_singular_values_alone(rows, columns, seed, scale):
    m = scale * rand(rows, columns, seed=seed)
    u, s, vt = np.linalg.svd(m.numpy(), full_matrices=False)
    x = s / np.sqrt((s**2).sum())
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    found = newton_schulz(m, 5, [3.4445, -4.7750, 2.0315], 1e-7)
    np.testing.assert_allclose(found, (u * x) @ vt, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(("dtype", "slack"), [("bfloat16", 0.05), ("float32", 1e-3), ("float64", 1e-3)])
@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (1, 30)])
def test_muons_step_is_about_orthogonal(shape, dtype, slack):
    step = step_of(Muon, [rand(*shape)], lr=1.0, adjust_lr="original", ns_dtype=dtype)
    values = torch.linalg.svdvals(step / step_scale("original", *shape))
    assert values.min() > 0.68 - slack
    assert values.max() < 1.21 + slack


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5), (1, 7)])
def test_with_coefficients_that_converge_muons_step_is_u_vt(shape):
    g = rand(*shape, seed=3)
    u, _, vt = torch.linalg.svd(g, full_matrices=False)
    # (15 x - 10 x^3 + 3 x^5) / 8 has its fixed point at 1, and no slope there.
    convergent = {"ns_coefficients": [1.875, -1.25, 0.375], "ns_steps": 40, "ns_dtype": "float64"}
    step = step_of(Muon, [g], lr=1.0, adjust_lr="original", **convergent)
    torch.testing.assert_close(step, -step_scale("original", *shape) * u @ vt, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("shape", [(64, 16), (16, 64), (32, 32)])
def test_matched_steps_have_the_root_mean_square_of_adamws(shape):
    step = step_of(Muon, [rand(*shape)], lr=1.0)
    assert step.square().mean().sqrt().item() == pytest.approx(0.2, rel=0.15)


def test_muon_sees_a_kernel_as_a_matrix_of_its_first_side_times_the_rest():
    kernel = step_of(Muon, [rand(4, 3, 2, 2), rand(4, 3, 2, 2, seed=1)])
    matrix = step_of(Muon, [rand(4, 12), rand(4, 12, seed=1)])
    assert torch.equal(kernel.flatten(1), matrix)


def test_muon_does_not_see_the_length_of_a_gradient():
    g = rand(5, 4)
    torch.testing.assert_close(step_of(Muon, [1e3 * g], ns_dtype="float64"), step_of(Muon, [g], ns_dtype="float64"))


# --- Shampoo


@PRECISIONS
@pytest.mark.parametrize("decay", [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "weight_decay_form": "times_lr"}])
@pytest.mark.contract("equals its twin", "shampoo")
def test_shampoo_equals_its_twin_step_for_step(decay, dtype, tolerance):
    ours, theirs = parameters(MATRICES + KERNELS, dtype), parameters(MATRICES + KERNELS, dtype)
    optimizer = Shampoo(ours, lr=0.1, momentum=0.0, eps=1e-2, every=1, **decay)
    theirs_decay = {"weight_decay": decay.get("weight_decay", 0.0), "weight_decouple": "weight_decay_form" in decay}
    twin = pytorch_optimizer.Shampoo(theirs, lr=0.1, matrix_eps=1e-2, **theirs_decay)
    hold_together(ours, optimizer, theirs, twin, tolerance)


def shampoo_oracle(x, gradients, lr, momentum, beta2, eps, every):
    """Matrices alone; the roots by scipy, in float64."""
    m, left, right = np.zeros_like(x), np.zeros((len(x),) * 2), np.zeros((x.shape[1],) * 2)
    for t, g in enumerate(gradients, start=1):
        new = 1.0 if beta2 == 1 else 1 - beta2
        left, right = beta2 * left + new * g @ g.T, beta2 * right + new * g.T @ g
        m = momentum * m + (1 - momentum) * g
        if t <= every or t % every == 0:
            debias = 1.0 if beta2 == 1 else 1 - beta2**t
            a, b = (
                scipy.linalg.fractional_matrix_power(s / debias + eps * np.eye(len(s)), -0.25) for s in (left, right)
            )
        x = x - lr * a @ m @ b
    return x


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("beta2", [1.0, 0.9])
@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("shape", [(4, 3), (3, 5), (1, 6)])
def test_shampoo_equals_fractional_powers_of_matrices(shape, every, beta2, momentum):
    p, gradients = nn.Parameter(rand(*shape)), [rand(*shape, seed=10 + t) for t in range(11)]
    expected = shampoo_oracle(
        p.detach().numpy(), [g.numpy() for g in gradients], 0.1, momentum, beta2, eps=1e-3, every=every
    )
    optimizer = Shampoo([p], lr=0.1, momentum=momentum, beta2=beta2, eps=1e-3, every=every)
    for g in gradients:
        p.grad = g
        optimizer.step()
    np.testing.assert_allclose(p.detach(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3), (1, 6)])
def test_shampoos_first_step_is_the_orthogonal_factor_of_the_gradient(shape):
    g = rand(*shape)
    u, _, vt = torch.linalg.svd(g, full_matrices=False)
    step = step_of(Shampoo, [g], lr=1.0, momentum=0.0, eps=1e-14)
    torch.testing.assert_close(step, -u @ vt, rtol=1e-5, atol=1e-5)


def test_a_side_longer_than_max_dim_keeps_the_diagonal():
    gradients = [rand(3, 5, seed=t) for t in range(3)]
    step = step_of(Shampoo, gradients, lr=1.0, momentum=0.0, every=1, max_dim=4, eps=1e-3)
    left = sum(g @ g.T for g in gradients).numpy() + 1e-3 * np.eye(3)
    right = sum(g.square().sum(0) for g in gradients).numpy() + 1e-3
    expected = -scipy.linalg.fractional_matrix_power(left, -0.25) @ gradients[-1].numpy() * right**-0.25
    np.testing.assert_allclose(step, expected, rtol=1e-10)
    kernel, rows = rand(2, 6, 3), ("ijk,ijk->i", "ijk,ijk->j", "ijk,ijk->k")
    roots = [torch.einsum(row, kernel, kernel).add(1e-3).pow(-1 / 6) for row in rows]
    step = step_of(Shampoo, [kernel], lr=1.0, momentum=0.0, max_dim=0, eps=1e-3)
    torch.testing.assert_close(step, -torch.einsum("ijk,i,j,k->ijk", kernel, *roots))


def test_shampoo_keeps_its_roots_between_every_nth_step():
    p = nn.Parameter(rand(4, 3))
    optimizer = Shampoo([p], every=5)
    renewed, before = [], None
    for t in range(1, 17):
        set_gradients([p], t)
        optimizer.step()
        root = optimizer.state[p]["P0"].clone()
        if before is None or not torch.equal(root, before):
            renewed.append(t)
        before = root
    assert renewed == [1, 2, 3, 4, 5, 10, 15]


# --- SOAP


def soap_twin(params, decay, **changed):
    """The authors' form decays after the step, so that the twin's parameters are decayed here, as ours are."""
    twin = pytorch_optimizer.SOAP(params, weight_decay=0.0, **changed)

    def decays():
        with torch.no_grad():
            for p in params:
                p.mul_(1 - twin.param_groups[0]["lr"] * decay)

    return twin, decays


@PRECISIONS
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("shampoo_beta", [None, 0.8])
@pytest.mark.contract("equals its twin", "soap")
def test_soap_equals_its_twin_in_its_first_basis(shampoo_beta, decay, dtype, tolerance):
    ours, theirs = parameters(FULL_RANK, dtype), parameters(FULL_RANK, dtype)
    optimizer = SOAP(ours, shampoo_beta=shampoo_beta, every=100, weight_decay=decay)
    twin, decays = soap_twin(theirs, decay, shampoo_beta=shampoo_beta, precondition_frequency=100)
    hold_together(ours, optimizer, theirs, twin, tolerance, before_twin=decays)


@pytest.mark.parametrize("every", [1, 10])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.contract("equals its twin", "soap")
def test_soap_equals_its_twin_through_new_bases(dtype, every):
    ours, theirs = parameters(FULL_RANK, dtype), parameters(FULL_RANK, dtype)
    optimizer = SOAP(ours, every=every, weight_decay=0.1)
    twin, decays = soap_twin(theirs, 0.1, precondition_frequency=every)
    # The twin takes its QR in float32 whatever the parameter is.
    hold_together(ours, optimizer, theirs, twin, 2e-5, before_twin=decays)


@pytest.mark.parametrize("max_dim", [10, 3])
def test_soap_equals_its_twin_with_sides_that_have_no_basis(max_dim):
    ours, theirs = parameters(FULL_RANK), parameters(FULL_RANK)
    optimizer = SOAP(ours, max_dim=max_dim, every=100, weight_decay=0.0, bias_correction=False)
    twin, _ = soap_twin(theirs, 0.0, max_precondition_dim=max_dim, precondition_frequency=100, correct_bias=False)
    hold_together(ours, optimizer, theirs, twin, 1e-12)


def test_soap_without_bases_is_adam_one_step_late():
    ours, theirs = parameters(FULL_RANK), parameters(FULL_RANK)
    optimizer = SOAP(ours, eps=0.0, max_dim=0, weight_decay=0.0)
    twin = torch.optim.Adam(theirs, lr=3e-3, betas=(0.95, 0.95), eps=0.0)
    run(optimizer, ours, 1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    hold_together(ours, optimizer, theirs, twin, 1e-12)


@given(n=st.integers(1, 8), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_refreshed_bases_are_orthogonal_and_end_in_the_eigenvectors(n, seed):
    turn = torch.linalg.qr(rand(n, n, seed=seed))[0]
    eigenvalues = 3.0 ** torch.arange(n, dtype=torch.float64)
    factor = (turn * eigenvalues) @ turn.T
    q, order = refreshed(torch.linalg.qr(rand(n, n, seed=seed + 1))[0], factor)
    assert sorted(order.tolist()) == list(range(n))
    torch.testing.assert_close(q.T @ q, torch.eye(n, dtype=torch.float64))
    for _ in range(60):
        q, _ = refreshed(q, factor)
    torch.testing.assert_close((q.T @ factor @ q).diagonal(), eigenvalues.flip(0))
    torch.testing.assert_close(abs(q.T @ turn.flip(1)), torch.eye(n, dtype=torch.float64), rtol=0, atol=1e-6)


# --- what they share


def test_products_along_a_side_equal_einsum():
    x, a = rand(2, 3, 4), rand(3, 3, seed=1)
    torch.testing.assert_close(along(x, 1, a), torch.einsum("ajb,ij->aib", x, a))
    torch.testing.assert_close(outer(x, 1), torch.einsum("aib,ajb->ij", x, x))


def test_eigenvalues_of_what_is_not_finite_are_nan():
    eigenvalues, q = eigh(torch.full((3, 3), torch.inf))
    assert eigenvalues.isnan().all()
    assert q.shape == (3, 3)
