"""The optimizers that call the loss themselves: against SciPy, torch, closed forms and exact matrices."""

import inspect
import itertools
import math
import re
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, rosen, rosen_der, rosen_hess
from sklearn.datasets import load_digits
from torch import nn

from steepest.errors import ConfigError
from steepest.optimizers.conjugate_gradient import ConjugateGradient
from steepest.optimizers.lbfgs import LBFGS, two_loops
from steepest.optimizers.line_search import strong_wolfe
from steepest.optimizers.linear_solver import conjugate_gradients
from steepest.optimizers.natural_gradient import NaturalGradient, kl_divergence
from steepest.optimizers.newton import Newton, saddle_free
from steepest.optimizers.objective import Objective

GRADIENT_RULES = [LBFGS, ConjugateGradient]
CURVATURE_RULES = [Newton, NaturalGradient]
RULES = GRADIENT_RULES + CURVATURE_RULES
SEARCHES = ["strong_wolfe", "none"]


def vector(*numbers, dtype=torch.float64):
    return nn.Parameter(torch.tensor(numbers, dtype=dtype))


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def definite(n, seed=0, condition=50.0):
    """A symmetric matrix with eigenvalues from 1 to `condition`."""
    Q, _ = torch.linalg.qr(normal(n, n, seed=seed))
    return Q @ torch.diag(torch.linspace(1.0, condition, n, dtype=torch.float64)) @ Q.T


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def closure_for(rule, loss, params):
    """`loss` as the rule's closure; a natural gradient is given half the squared distance of the parameters with it."""

    def pair():
        return loss(), sum(((p - p.detach()) ** 2).sum() for p in params) / 2

    return pair if rule.needs_divergence else loss


def run(rule, params, loss, steps, **options):
    """The optimizer after so many steps, and the loss at the start of each."""
    optimizer = rule(params, **options)
    closure = closure_for(rule, loss, params)
    return optimizer, [optimizer.step(closure).item() for _ in range(steps)]


# --- L-BFGS


@pytest.mark.parametrize("history", [1, 3, 100])
@pytest.mark.parametrize("lr", [1.0, 0.3])
@pytest.mark.contract("equals its twin", "lbfgs")
def test_lbfgs_equals_torchs_step_for_step(history, lr):
    # A large loss, so that torch keeps every pair: it leaves out those with s . y <= 1e-10, whatever the scale.
    A, b = 1e6 * definite(60, condition=100.0), 1e6 * normal(60, seed=1)
    loss = lambda x: x @ A @ x / 2 - b @ x + 1e6 * torch.log(torch.cosh(x)).sum() + 1e4 * (x**4).sum()  # noqa: E731
    ours, theirs = (nn.Parameter(normal(60, seed=2)) for _ in range(2))
    optimizer = LBFGS([ours], lr=lr, history=history, line_search="none")
    twin = torch.optim.LBFGS([theirs], lr=lr, history_size=history, **LBFGS.twin_options)

    def closure():
        twin.zero_grad()
        value = loss(theirs)
        value.backward()
        return value

    for _ in range(25):
        assert optimizer.step(lambda: loss(ours)).item() == pytest.approx(twin.step(closure).item(), rel=1e-10)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
    assert (ours - normal(60, seed=2)).abs().max() > 0.1


@given(n=st.integers(1, 6), pairs=st.integers(1, 5), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_two_loops_are_the_bfgs_formula(n, pairs, seed):
    A = definite(n, seed=seed, condition=5.0)
    S = normal(pairs, n, seed=seed + 1)
    Y = S @ A
    g = normal(n, seed=seed + 2)
    H = torch.eye(n, dtype=torch.float64) * (S[-1] @ Y[-1]) / (Y[-1] @ Y[-1])
    for s, y in zip(S, Y, strict=True):
        V = torch.eye(n, dtype=torch.float64) - torch.outer(y, s) / (s @ y)
        H = V.T @ H @ V + torch.outer(s, s) / (s @ y)
    torch.testing.assert_close(two_loops(g, S, Y), H @ g)
    torch.testing.assert_close(H @ Y[-1], S[-1])  # the secant equation


def test_lbfgs_keeps_the_last_pairs_only_and_leaves_out_negative_curvature():
    x = vector(0.3, -0.2, 0.5)
    optimizer, _ = run(LBFGS, [x], lambda: rosenbrock(x), 8, history=3)
    S, Y = optimizer.state[x]["S"], optimizer.state[x]["Y"]
    assert S.shape == Y.shape == (3, 3)
    assert ((S * Y).sum(1) > 0).all()
    z = vector(0.1)
    concave, _ = run(LBFGS, [z], lambda: -(z**2).sum(), 3, line_search="none", lr=0.1)
    assert concave.state[z]["S"].shape == (0, 1)
    assert z.item() > 0.1


def test_pairs_of_a_minibatch_step_are_of_one_batch():
    A = torch.stack([definite(3, seed=i) for i in range(4)])
    x, batch = nn.Parameter(normal(3)), 0
    optimizer = LBFGS([x])
    for batch in range(4):
        optimizer.step(lambda: x @ A[batch] @ x / 2)  # noqa: B023
    S, Y = optimizer.state[x]["S"], optimizer.state[x]["Y"]
    torch.testing.assert_close(Y, torch.einsum("bij,bj->bi", A, S))


# --- conjugate gradients


@pytest.mark.parametrize("n", [2, 5, 10])
def test_conjugate_gradient_needs_few_steps_on_a_quadratic(n):
    A, b = definite(n), normal(n, seed=1)
    x = nn.Parameter(torch.zeros(n, dtype=torch.float64))
    run(ConjugateGradient, [x], lambda: x @ A @ x / 2 - b @ x, 35)
    torch.testing.assert_close(x.detach(), torch.linalg.solve(A, b), rtol=1e-5, atol=1e-5)


def test_with_exact_lengths_directions_are_conjugate_and_n_steps_are_enough():
    n = 6
    A, b = definite(n, condition=5.0), normal(n, seed=1)
    x = nn.Parameter(torch.zeros(n, dtype=torch.float64))
    optimizer, points = ConjugateGradient([x], line_search="none"), [x.detach().clone()]
    for _ in range(n):  # the length that an exact search finds on a parabola
        g = A @ x.detach() - b
        d = optimizer.state[x].get("kept", 0) - g
        optimizer.param_groups[0]["lr"] = float(-(g @ d) / (d @ A @ d))
        optimizer.step(lambda: x @ A @ x / 2 - b @ x)
        points.append(x.detach().clone())
    steps = torch.stack(points).diff(dim=0)
    gram = steps @ A @ steps.T
    assert (gram - gram.diag().diag()).abs().max() < 1e-10
    torch.testing.assert_close(x.detach(), torch.linalg.solve(A, b))


def test_polak_ribiere_by_hand():
    x = vector(1.0, -2.0)
    scale = torch.tensor([1.0, 10.0], dtype=torch.float64)
    optimizer, _ = run(ConjugateGradient, [x], lambda: (scale * x**2).sum() / 2, 1, line_search="none", lr=0.05)
    before, after = np.array([1.0, -20.0]), np.array([0.95, 20.0 * 0.05 * 10 - 20.0])
    beta = max(0.0, after @ (after - before) / (before @ before))
    np.testing.assert_allclose(optimizer.state[x]["kept"].numpy(), -beta * before)


# --- Newton


@pytest.mark.parametrize("max_exact", [1000, 0])
def test_newton_ends_a_quadratic_in_one_step(max_exact):
    A, b = definite(5), normal(5, seed=1)
    x, y = (nn.Parameter(t) for t in normal(5, seed=2).split([2, 3]))
    loss = lambda: torch.cat([x, y]) @ A @ torch.cat([x, y]) / 2 - b @ torch.cat([x, y])  # noqa: E731
    run(Newton, [x, y], loss, 1, damping=0.0, max_exact=max_exact, cg_tolerance=0.0)
    torch.testing.assert_close(torch.cat([x, y]).detach(), torch.linalg.solve(A, b), rtol=1e-7, atol=1e-7)


def test_newtons_step_is_that_of_the_damped_hessian():
    x0 = np.array([1.05, 1.1, 1.19])
    assert np.linalg.eigvalsh(rosen_hess(x0))[0] > 0
    x = vector(*x0)
    run(Newton, [x], lambda: rosenbrock(x), 1, damping=0.5, line_search="none", lr=0.7)
    expected = x0 - 0.7 * np.linalg.solve(rosen_hess(x0) + 0.5 * np.eye(3), rosen_der(x0))
    np.testing.assert_allclose(x.detach().numpy(), expected, rtol=1e-10)


def rotated(*eigenvalues, seed=3):
    """(H, Q): a symmetric matrix with these eigenvalues, its eigenvectors the columns of Q."""
    n = len(eigenvalues)
    Q, _ = torch.linalg.qr(normal(n, n, seed=seed))
    return Q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T, Q


@pytest.mark.parametrize(
    ("eigenvalues", "damping", "sizes"),
    [
        ([4.0, -1.0, -0.2], 0.5, [4.5, 1.5, 0.7]),  # |l| + damping: with |l + damping| it would be 4.5, 0.5, 0.3
        ([3.0, 0.0, -2.0], 0.5, [3.5, 0.5, 2.5]),
        ([3.0, 0.0, -2.0], 0.0, [3.0, math.inf, 2.0]),  # what has neither curvature nor damping is left out
        ([5.0, 0.0, 0.0], 0.0, [5.0, math.inf, math.inf]),
    ],
)
def test_newtons_step_goes_by_the_size_of_each_eigenvalue(eigenvalues, damping, sizes):
    H, Q = rotated(*eigenvalues)
    b, x = normal(3, seed=4), nn.Parameter(normal(3, seed=5))
    before = x.detach().clone()
    run(Newton, [x], lambda: x @ H @ x / 2 - b @ x, 1, damping=damping, line_search="none")
    step = -Q @ ((Q.T @ (H @ before - b)) / torch.tensor(sizes, dtype=torch.float64))
    torch.testing.assert_close(x.detach() - before, step, rtol=1e-10, atol=1e-12)


def count_products(monkeypatch):
    """A list that grows with every product of the curvature with a vector."""
    asked, product = [], Objective.product

    def counting(self, v):
        asked.append(v)
        return product(self, v)

    monkeypatch.setattr(Objective, "product", counting)
    return asked


@pytest.mark.parametrize("most", [1, 4, 20])
@pytest.mark.parametrize("tolerance", [0.0, 1e-3, 0.3])
def test_newton_takes_no_more_products_than_it_may_and_needs(monkeypatch, most, tolerance):
    A, b, n, damping = definite(20, condition=100.0), normal(20, seed=1), 20, 0.5
    asked, x = count_products(monkeypatch), nn.Parameter(torch.zeros(20, dtype=torch.float64))
    options = {"damping": damping, "line_search": "none", "max_exact": 0}
    run(Newton, [x], lambda: x @ A @ x / 2 - b @ x, 1, cg_iterations=most, cg_tolerance=tolerance, **options)
    # The oracle minimises in the span of b, H b, H^2 b, ... with every matrix written out.
    H, basis, needed = A + damping * torch.eye(n, dtype=torch.float64), b[:, None], 0
    for _ in range(most):
        Q, _ = torch.linalg.qr(basis)
        z, needed = Q @ torch.linalg.solve(Q.T @ H @ Q, Q.T @ b), needed + 1
        if (H @ z - b).norm() <= tolerance * b.norm():
            break
        basis = torch.cat([Q, H @ Q[:, -1:]], 1)
    assert len(asked) == needed <= most
    torch.testing.assert_close(x.detach(), z, rtol=1e-5, atol=1e-6)


def test_newton_with_the_whole_matrix_takes_a_product_for_each_parameter(monkeypatch):
    asked, x = count_products(monkeypatch), vector(1.0, -2.0, 0.5)
    run(Newton, [x], lambda: rosenbrock(x), 1, cg_iterations=1)
    assert len(asked) == 3


@pytest.mark.parametrize("max_exact", [1000, 0])
def test_newton_leaves_a_saddle_point(max_exact):
    x = vector(1.0, 1e-3)  # x^2 - y^2 + y^4 has its minima at y = +-sqrt(1/2); plain Newton goes to y = 0
    run(Newton, [x], lambda: x[0] ** 2 - x[1] ** 2 + x[1] ** 4, 15, max_exact=max_exact)
    torch.testing.assert_close(x.detach(), torch.tensor([0.0, 0.5**0.5], dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_a_direction_without_curvature_and_gradient_is_left_out():
    x = vector(3.0, 5.0, 7.0)  # the loss does not know the third
    run(Newton, [x], lambda: x[0] ** 2 + (x[0] + x[1] - 2) ** 2, 1, damping=0.0)
    torch.testing.assert_close(x.detach(), torch.tensor([0.0, 2.0, 7.0], dtype=torch.float64))
    H = torch.full((2, 2), math.nan, dtype=torch.float64)
    assert torch.equal(saddle_free(H, H.new_ones(2), 0.1), H.new_ones(2))


def test_newton_on_a_loss_without_curvature():
    x = vector(1.0, 2.0)
    run(Newton, [x], lambda: (3 * x).sum(), 1, damping=0.5, line_search="none")
    torch.testing.assert_close(x.detach(), torch.tensor([-5.0, -4.0], dtype=torch.float64))


# --- the natural gradient


def logistic(seed=0, classes=3, features=4, examples=20):
    X = normal(examples, features, seed=seed)
    y = torch.randint(classes, (examples,), generator=torch.Generator().manual_seed(seed))
    return X, y


def fisher(logits_of, x):
    """J' (diag(p) - p p') J, averaged over the examples, with every matrix written out."""
    J = torch.func.jacrev(logits_of)(x)  # [examples, classes, n]
    p = logits_of(x).softmax(-1)
    return torch.einsum("eci,ecd,edj->ij", J, torch.diag_embed(p) - p[:, :, None] * p[:, None, :], J) / len(p)


def test_the_divergence_has_the_exact_fisher_matrix_as_its_hessian():
    X, y = logistic()
    x = nn.Parameter(normal(2 * 4 + 3 * 2, seed=3) / 2)
    logits_of = lambda v: torch.tanh(X @ v[:8].view(4, 2)) @ v[8:].view(2, 3)  # noqa: E731
    expected = fisher(logits_of, x.detach())
    divergence = kl_divergence(logits_of(x))
    (slope,) = torch.autograd.grad(divergence, x, create_graph=True)
    assert divergence.item() == pytest.approx(0.0, abs=1e-15)
    assert slope.abs().max() < 1e-15
    seen = {}

    class Seeing(NaturalGradient):
        def advance(self, f, state, h):
            seen["F"] = f.matrix()

    Seeing([x]).step(lambda: (F.cross_entropy(logits_of(x), y), kl_divergence(logits_of(x))))
    torch.testing.assert_close(seen["F"], expected, rtol=1e-10, atol=1e-12)


def test_the_step_solves_the_damped_fisher_equation():
    X, y = logistic()
    x = nn.Parameter(normal(12, seed=3))
    logits_of = lambda v: X @ v.view(4, 3)  # noqa: E731
    before = x.detach().clone()
    g = torch.func.grad(lambda v: F.cross_entropy(logits_of(v), y))(before)
    d = np.linalg.solve(fisher(logits_of, before).numpy() + 0.01 * np.eye(12), -g.numpy())
    closure = lambda: (F.cross_entropy(logits_of(x), y), kl_divergence(logits_of(x)))  # noqa: E731
    NaturalGradient([x], lr=0.5, damping=0.01, kl_clip=None, cg_iterations=60, cg_tolerance=1e-13).step(closure)
    np.testing.assert_allclose((x.detach() - before).numpy(), 0.5 * d, rtol=1e-8, atol=1e-10)


def binary(x, X):
    return F.pad((X @ x)[:, None], (1, 0))  # logits 0 and z: no direction leaves the predictions as they are


def test_the_step_does_not_depend_on_the_parametrisation():
    X, y = logistic(classes=2)
    B = definite(4, seed=5) @ normal(4, 4, seed=6)
    theta = nn.Parameter(normal(4, seed=7))
    phi = nn.Parameter(torch.linalg.solve(B, theta.detach()))
    exact = {"damping": 0.0, "kl_clip": 0.02, "cg_iterations": 100, "cg_tolerance": 1e-14}
    straight, other = NaturalGradient([theta], **exact), NaturalGradient([phi], **exact)
    for _ in range(5):
        straight.step(lambda: (F.cross_entropy(binary(theta, X), y), kl_divergence(binary(theta, X))))
        other.step(lambda: (F.cross_entropy(binary(B @ phi, X), y), kl_divergence(binary(B @ phi, X))))
        torch.testing.assert_close((B @ phi).detach(), theta.detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_on_logistic_regression_it_is_newtons_method(decay):
    X, y = logistic(classes=2)
    a, b = (nn.Parameter(normal(4, seed=7)) for _ in range(2))
    newton = Newton([a], damping=1e-3, line_search="none", weight_decay=decay)
    natural = NaturalGradient([b], damping=1e-3, kl_clip=None, cg_iterations=50, cg_tolerance=1e-13, weight_decay=decay)
    for _ in range(4):
        newton.step(lambda: F.cross_entropy(binary(a, X), y))
        natural.step(lambda: (F.cross_entropy(binary(b, X), y), kl_divergence(binary(b, X))))
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("kl_clip", [1e-6, 1e-4])
def test_the_step_causes_the_divergence_that_it_is_allowed(kl_clip):
    X, y = logistic()
    x = nn.Parameter(normal(4, 3, seed=3))
    before = (X @ x).detach().log_softmax(-1)
    closure = lambda: (F.cross_entropy(X @ x, y), kl_divergence(X @ x))  # noqa: E731
    NaturalGradient([x], kl_clip=kl_clip).step(closure)
    after = (X @ x).detach().log_softmax(-1)
    caused = (before.exp() * (before - after)).sum(-1).mean().item()
    assert caused == pytest.approx(kl_clip, rel=0.05)


# --- the linear solver and the line search


@given(n=st.integers(1, 12), seed=st.integers(0, 1000), condition=st.floats(1.0, 100.0))
@settings(max_examples=40, deadline=None)
def test_conjugate_gradients_solve_as_numpy_does(n, seed, condition):
    A, b = definite(n, seed=seed, condition=condition), normal(n, seed=seed + 1)
    z = conjugate_gradients(lambda v: A @ v, b, 5 * n, 1e-13)
    np.testing.assert_allclose(z.numpy(), np.linalg.solve(A.numpy(), b.numpy()), rtol=1e-8, atol=1e-9)


def test_conjugate_gradients_need_a_product_for_each_eigenvalue_and_obey_the_bounds():
    A = torch.diag(torch.tensor([1.0, 1.0, 4.0, 4.0, 9.0], dtype=torch.float64))
    b, products = torch.ones(5, dtype=torch.float64), []

    def product(v):
        products.append(v)
        return A @ v

    torch.testing.assert_close(conjugate_gradients(product, b, 50, 1e-12), torch.linalg.solve(A, b))
    assert len(products) == 3
    rough = conjugate_gradients(product, b, 50, 0.5)
    assert (A @ rough - b).norm() <= 0.5 * b.norm()
    products.clear()
    conjugate_gradients(product, b, 2, 0.0)
    assert len(products) == 2


def test_conjugate_gradients_stop_at_negative_curvature():
    b = torch.tensor([1.0, 1.0], dtype=torch.float64)
    for diagonal in ([-1.0, -2.0], [1.0, -3.0], [3.0, -0.1]):
        A = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
        z = conjugate_gradients(lambda v: A @ v, b, 10, 1e-10)  # noqa: B023
        assert b @ z > 0
        assert z.isfinite().all()


@given(curvature=st.floats(0.01, 100.0), minimum=st.floats(1e-3, 1e3), c2=st.sampled_from([0.1, 0.9]))
@settings(max_examples=60, deadline=None)
def test_a_found_length_satisfies_the_strong_wolfe_conditions_and_costs_no_evaluation_twice(curvature, minimum, c2):
    asked = []

    def phi(u):
        asked.append(u)
        z = (u - minimum) / minimum
        return curvature * (z**2 + z**4 / 10), curvature * (2 * z + 4 * z**3 / 10) / minimum

    value, slope = phi(0.0)
    asked.clear()
    u = strong_wolfe(phi, value, slope, c2)
    assert asked[0] == 1.0
    assert len(asked) == len(set(asked))
    assert u in asked
    if 2.0**-4 < minimum < 2.0**9:
        assert phi(u)[0] <= value + 1e-4 * u * slope
        assert abs(phi(u)[1]) <= c2 * abs(slope)


def test_where_scipy_finds_nothing_a_lower_point_or_none_is_taken_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert strong_wolfe(lambda u: (1.0 + u, 1.0), 1.0, -1.0, 0.9) == 0.0  # a slope that is not true
        u = strong_wolfe(lambda u: (-u, -1.0), 0.0, -1.0, 0.9)  # no lower bound
        assert u > 100
        u = strong_wolfe(lambda u: (math.inf, 0.0) if u > 1e-9 else (-u, -1.0), 0.0, -1.0, 0.9)
        assert 0 < u <= 1e-9


# --- what all have in common


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("line_search", SEARCHES)
def test_constructor_and_docstring(rule, line_search):
    p = vector(1.0)
    optimizer = rule([p], line_search=line_search)
    own = set(inspect.signature(rule).parameters) - {"params"}
    assert own == optimizer.param_groups[0].keys() - {"params"}
    assert optimizer.reach == "closure"
    assert "x_t = " in rule.__doc__
    assert re.search(r"(19|20)\d\d", rule.__doc__)


@pytest.mark.parametrize("rule", [LBFGS, ConjugateGradient, Newton])
@pytest.mark.parametrize("method", ["BFGS", "CG", "Newton-CG"])
def test_finds_scipys_minimum_of_rosenbrock(rule, method):
    start = [1.3, 0.7, 0.8, 1.9]
    x = vector(*start)
    run(rule, [x], lambda: rosenbrock(x), 120)
    theirs = minimize(rosen, start, jac=rosen_der, method=method, options={"maxiter": 1000})
    np.testing.assert_allclose(x.detach().numpy(), theirs.x, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_no_step_of_a_line_search_leads_up(rule):
    x = nn.Parameter(normal(6))
    _, losses = run(rule, [x], lambda: rosenbrock(torch.sin(x)) + (x**2).sum() / 100, 25, line_search="strong_wolfe")
    assert all(after <= before for before, after in itertools.pairwise(losses))
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("rule", RULES)
def test_step_returns_the_loss_at_its_start_without_a_graph_and_without_the_penalty(rule):
    x = vector(2.0, -1.0)
    optimizer = rule([x], weight_decay=0.5)
    closure = closure_for(rule, lambda: (x**2).sum(), [x])
    loss = optimizer.step(closure)
    assert loss.item() == 5.0
    assert not loss.requires_grad
    assert not torch.equal(x.detach(), torch.tensor([2.0, -1.0], dtype=torch.float64))


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("line_search", SEARCHES)
def test_weight_decay_of_each_group_is_a_penalty_in_the_loss(rule, line_search):
    def losses(penalised):
        a, b = vector(1.0, -2.0), vector(0.5)
        penalty = lambda: 0.1 * (a**2).sum() + 0.3 * (b**2).sum()  # noqa: E731
        loss = lambda: ((a - 3) ** 2).sum() * b.sum() ** 2 + (a**4).sum() + (b - 1).sum() ** 2  # noqa: E731
        decays = (0.0, 0.0) if penalised else (0.2, 0.6)
        groups = [{"params": [p], "weight_decay": w} for p, w in zip((a, b), decays, strict=True)]
        optimizer = rule(groups, lr=0.05, line_search=line_search)

        def closure():
            value = loss() + penalty() if penalised else loss()
            if rule is not NaturalGradient:
                return value
            euclidean = sum(((p - p.detach()) ** 2).sum() for p in (a, b)) / 2
            # The penalty's own curvature belongs to the matrix of a natural gradient.
            return value, euclidean + 0.1 * ((a - a.detach()) ** 2).sum() * penalised + 0.3 * penalised * (
                (b - b.detach()) ** 2
            ).sum()

        for _ in range(5):
            optimizer.step(closure)
        return torch.cat([a, b]).detach()

    torch.testing.assert_close(losses(True), losses(False), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("line_search", SEARCHES)
def test_maximize_is_minimising_the_negative(rule, line_search):
    a, b = vector(0.5, -1.0), vector(0.5, -1.0)
    loss = lambda x: (x**4).sum() + (x[0] - x[1] + 1) ** 2  # noqa: E731
    options = {"line_search": line_search, "lr": 0.1, "weight_decay": 0.1}
    run(rule, [a], lambda: loss(a), 5, **options)
    run(rule, [b], lambda: -loss(b), 5, maximize=True, **options)
    assert torch.equal(a, b)


@pytest.mark.parametrize("rule", GRADIENT_RULES)
@pytest.mark.parametrize("line_search", SEARCHES)
@pytest.mark.parametrize("maximize", [False, True])
def test_a_closure_that_calls_backward_does_as_well(rule, line_search, maximize):
    a, b = vector(0.5, -1.0), vector(0.5, -1.0)
    unused = vector(3.0)
    sign = -1 if maximize else 1
    options = {"line_search": line_search, "maximize": maximize, "lr": 0.02}
    run(rule, [a], lambda: sign * rosenbrock(a), 6, **options)
    optimizer = rule([b, unused], **options)

    def closure():
        optimizer.zero_grad()
        loss = sign * rosenbrock(b)
        loss.backward()
        return loss

    for _ in range(6):
        optimizer.step(closure)
    assert torch.equal(a, b)
    assert unused.item() == 3.0


@pytest.mark.parametrize("rule", RULES)
def test_frozen_unused_empty_and_scalar_parameters(rule):
    frozen, unused, empty, scalar, matrix = (
        vector(1.0),
        vector(2.0, 3.0),
        nn.Parameter(torch.zeros(0, dtype=torch.float64)),
        nn.Parameter(torch.tensor(2.0, dtype=torch.float64)),
        nn.Parameter(normal(2, 3)),
    )
    frozen.requires_grad_(False)
    params = [frozen, unused, empty, scalar, matrix]
    loss = lambda: (scalar - 1) ** 2 + (matrix**2).sum() + frozen.sum() * (empty.sum() + 1)  # noqa: E731
    run(rule, params, loss, 60, line_search="strong_wolfe")
    assert frozen.item() == 1.0
    assert torch.equal(unused.detach(), torch.tensor([2.0, 3.0], dtype=torch.float64))
    assert scalar.item() == pytest.approx(1.0, abs=1e-3)
    assert matrix.abs().max() < 1e-3


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("line_search", SEARCHES)
def test_a_learning_rate_of_zero_moves_nothing(rule, line_search):
    x = vector(1.0, 2.0)
    optimizer, _ = run(rule, [x], lambda: rosenbrock(x), 2, lr=0.0, line_search=line_search, weight_decay=0.1)
    assert torch.equal(x.detach(), torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert not optimizer.state


@pytest.mark.parametrize("rule", RULES)
def test_lr_is_the_step_length_without_a_search_and_follows_a_scheduler(rule):
    def first_step(lr):
        x = vector(1.0, 2.0)
        optimizer = rule([x], lr=1.0, line_search="none")
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: lr)
        closure = closure_for(rule, lambda: rosenbrock(x), [x])
        optimizer.step(closure)
        scheduler.step()
        return x.detach() - torch.tensor([1.0, 2.0], dtype=torch.float64)

    torch.testing.assert_close(first_step(2e-4), 2 * first_step(1e-4), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_points_that_are_not_finite_shorten_the_step(rule):
    x = vector(0.01)  # the logarithm is not defined beyond 0
    _, losses = run(rule, [x], lambda: (x - torch.log(x) - 50 * torch.sqrt(x)).sum() + 0, 3, lr=1e4)
    assert x.item() > 0 or rule is NaturalGradient  # without a search it goes where it goes
    assert rule is NaturalGradient or losses[-1] < losses[0]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_moves_nothing(rule, value):
    x = vector(1.0, 2.0)
    _, losses = run(rule, [x], lambda: (x * value).sum(), 2)
    assert torch.equal(x.detach(), torch.tensor([1.0, 2.0], dtype=torch.float64))
    assert not math.isfinite(losses[0])


@pytest.mark.parametrize("rule", RULES)
def test_at_the_minimum_nothing_moves(rule):
    x = vector(1.0, 1.0)
    run(rule, [x], lambda: rosenbrock(x), 3)
    assert torch.equal(x.detach(), torch.ones(2, dtype=torch.float64))


@pytest.mark.parametrize("rule", RULES)
def test_a_sparse_gradient_counts_as_a_dense_one(rule):
    """Rows that no token touches have a gradient of 0, but the decay of the whole table."""
    tables = [nn.Embedding(5, 3, sparse=sparse, dtype=torch.float64) for sparse in (True, False)]
    tokens, goal = torch.tensor([0, 3, 3, 1]), normal(4, 3, seed=1)
    for table in tables:
        with torch.no_grad():
            table.weight.copy_(normal(5, 3, seed=2))
        optimizer = rule(table.parameters(), weight_decay=0.1, line_search="strong_wolfe")
        loss = lambda: ((table(tokens) - goal) ** 4).sum()  # noqa: B023, E731
        closure = closure_for(rule, loss, [table.weight])  # its divergence is dense
        for _ in range(4):
            optimizer.step(closure)
    sparse, dense = (table.weight.detach() for table in tables)
    torch.testing.assert_close(sparse, dense, rtol=0, atol=0)
    assert (sparse != normal(5, 3, seed=2)).all()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_gradient_too_small_to_be_squared_is_no_error(rule, steps_before):
    x = vector(3.0)
    optimizer = rule([x], line_search="strong_wolfe")
    for _ in range(steps_before):
        optimizer.step(closure_for(rule, lambda: (x**4).sum(), [x]))
    before = x.item()
    optimizer.step(closure_for(rule, lambda: 1e-180 * (x**4).sum(), [x]))
    assert 0 <= x.item() <= before


@pytest.mark.parametrize("rule", RULES)
def test_a_layer_that_is_frozen_or_thawed_restarts_the_memory(rule):
    a, b = vector(1.0, -0.5), vector(0.7)
    optimizer = rule([a, b], line_search="strong_wolfe")
    closure = closure_for(rule, lambda: rosenbrock(torch.cat([a, b])), [a, b])
    for train in (True, False, True):
        b.requires_grad_(train)
        before, losses = b.item(), [optimizer.step(closure).item() for _ in range(3)]
        assert losses[2] < losses[0]
        assert (b.item() != before) is train


@pytest.mark.parametrize("rule", RULES)
def test_trains_a_network_on_digits(rule):
    images, labels = load_digits(return_X_y=True)
    X, y = torch.tensor(images[:400], dtype=torch.float32) / 16, torch.tensor(labels[:400])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 10))
    optimizer = rule(model.parameters())

    def closure():
        logits = model(X)
        loss = F.cross_entropy(logits, y)
        return (loss, kl_divergence(logits)) if optimizer.needs_divergence else loss

    for _ in range(25):
        optimizer.step(closure)
    assert (model(X).argmax(1) == y).float().mean() > 0.95


def test_newton_takes_second_derivatives_through_attention():
    q = nn.Parameter(normal(1, 1, 3, 2).float())
    k = normal(1, 1, 3, 2, seed=1).float()
    before = (F.scaled_dot_product_attention(q, k, k) ** 2).sum().item()
    run(Newton, [q], lambda: (F.scaled_dot_product_attention(q, k, k) ** 2).sum(), 3)
    assert (F.scaled_dot_product_attention(q, k, k) ** 2).sum().item() < before


@pytest.mark.parametrize("rule", RULES)
def test_an_error_in_the_closure_leaves_the_parameters_where_the_step_began(rule):
    x, calls = vector(-1.2, 1.0), []

    def loss():
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return rosenbrock(x)

    with pytest.raises(KeyboardInterrupt):
        run(rule, [x], loss, 1, line_search="strong_wolfe")
    assert torch.equal(x.detach(), torch.tensor([-1.2, 1.0], dtype=torch.float64))


# --- bad input


@pytest.mark.parametrize("rule", RULES)
def test_a_missing_closure_is_said(rule):
    with pytest.raises(RuntimeError, match=rf"{rule.__name__} needs step\(closure\)"):
        rule([vector(1.0)]).step()


@pytest.mark.parametrize("rule", RULES)
def test_groups_that_differ_in_more_than_weight_decay_are_refused(rule):
    groups = [{"params": [vector(1.0)], "lr": 0.1}, {"params": [vector(1.0)], "lr": 0.2}]
    with pytest.raises(ConfigError, match=re.escape("optimizer.lr=[0.1, 0.2]")):
        rule(groups)
    optimizer = rule([{"params": [vector(1.0)]}, {"params": [vector(1.0)], "weight_decay": 0.1}])
    optimizer.param_groups[1]["lr"] = 7.0
    with pytest.raises(ConfigError, match="one value for all"):
        optimizer.step(lambda: None)


@pytest.mark.parametrize("rule", CURVATURE_RULES)
def test_a_closure_after_backward_is_refused_where_the_graph_is_needed(rule):
    x = vector(1.0, 2.0)
    optimizer = rule([x])

    def closure():
        loss = rosenbrock(x)
        loss.backward()
        return (loss, loss) if optimizer.needs_divergence else loss

    with pytest.raises(RuntimeError, match="before backward"):
        optimizer.step(closure)


@pytest.mark.parametrize("rule", RULES)
def test_closures_that_return_something_else_are_refused(rule):
    x = vector(1.0, 2.0)
    optimizer = rule([x])
    for wrong in (lambda: None, lambda: 1.0, lambda: x, lambda: (x.sum(), x.sum(), x.sum())):
        with pytest.raises(RuntimeError, match="needs a closure that returns the loss"):
            optimizer.step(wrong)
    detached = lambda: (x.detach().sum(),) * (1 + optimizer.needs_divergence)  # noqa: E731
    with pytest.raises(RuntimeError, match="with its graph"):
        optimizer.step(detached)


def test_newton_refuses_a_pair_and_the_natural_gradient_a_single_loss():
    x = vector(1.0)
    with pytest.raises(RuntimeError, match="Newton needs a closure that returns the loss,"):
        Newton([x]).step(lambda: (x.sum(), x.sum()))
    with pytest.raises(RuntimeError, match="returns the loss and the divergence"):
        NaturalGradient([x]).step(lambda: x.sum())


def test_nothing_to_train_is_said():
    x = vector(1.0).requires_grad_(False)
    with pytest.raises(RuntimeError, match="no parameter to train"):
        LBFGS([x]).step(lambda: x.sum())


@pytest.mark.parametrize(
    ("rule", "changed", "said"),
    [
        (LBFGS, {"history": 0}, "optimizer.history=0"),
        (LBFGS, {"history": 2.5}, "optimizer.history=2.5"),
        (Newton, {"max_exact": -1}, "optimizer.max_exact=-1"),
        (Newton, {"cg_iterations": 0}, "optimizer.cg_iterations=0"),
        (Newton, {"cg_tolerance": -0.1}, "optimizer.cg_tolerance=-0.1"),
        (NaturalGradient, {"cg_iterations": True}, "optimizer.cg_iterations=true"),
        (NaturalGradient, {"kl_clip": 0.0}, "optimizer.kl_clip=0.0"),
        (NaturalGradient, {"kl_clip": math.nan}, "optimizer.kl_clip=nan"),
    ],
)
def test_values_of_its_own_out_of_range_are_named(rule, changed, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        rule([vector(1.0)], **changed)
