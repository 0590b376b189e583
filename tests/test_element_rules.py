"""The element rules against their twins, their limiting cases and the papers' forms."""

import copy
import io
import math

import pytest
import pytorch_optimizer
import torch
from contract import parameters, set_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steepest.errors import ConfigError
from steepest.optimizers.adabelief import AdaBelief
from steepest.optimizers.adadelta import Adadelta
from steepest.optimizers.adagrad import Adagrad
from steepest.optimizers.adam import Adam
from steepest.optimizers.adamax import AdaMax
from steepest.optimizers.adan import Adan
from steepest.optimizers.amsgrad import AMSGrad
from steepest.optimizers.heavy_ball import HeavyBall
from steepest.optimizers.lion import Lion
from steepest.optimizers.nadam import NAdam
from steepest.optimizers.nesterov import Nesterov
from steepest.optimizers.radam import RAdam
from steepest.optimizers.rmsprop import RMSProp
from steepest.optimizers.sgd import SGD
from steepest.optimizers.sgd_momentum import SGDMomentum

RULES = [HeavyBall, Nesterov, Adagrad, Adadelta, RMSProp, AMSGrad, AdaMax, NAdam, Lion, RAdam, AdaBelief, Adan]


def lookahead(params, **changed):
    return Nesterov(params, form="lookahead", **changed)


def path(rule, steps=30, lrs=None, **options):
    """The parameters after each of some steps of a rule, with a learning rate for each of them."""
    params = parameters(shapes=[(4, 3), (5,)])
    optimizer = rule(params, **options)
    points = []
    for step in range(steps):
        if lrs:
            optimizer.param_groups[0]["lr"] = lrs[step]
        set_gradients(params, step)
        optimizer.step()
        points.append(torch.cat([p.detach().flatten() for p in params]))
    return torch.stack(points)


def assert_same(a, b, tolerance=1e-12):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def numbers(x):
    return nn.Parameter(torch.as_tensor(x, dtype=torch.float64))


def follow(rule, gradients, x=0.0, **options):
    """The parameter, a number, after each of the given gradients."""
    p = numbers(x)
    optimizer = rule([p], **options)
    points = []
    for g in gradients:
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
        points.append(p.item())
    return points


# --- twins: (rule, its settings, the twin, the twin's own settings)

SHORT = {"betas": (0.8, 0.9)}
TWINS = {
    "heavy_ball": (HeavyBall, {"momentum": 0.8}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.8}),
    "nesterov": (Nesterov, {}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "lookahead": (lookahead, {}, torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adagrad": (Adagrad, {}, torch.optim.Adagrad, {"eps": 1e-8}),
    "adagrad_from": (
        Adagrad,
        {"eps": 1e-10, "initial_accumulator": 0.3},
        torch.optim.Adagrad,
        {"initial_accumulator_value": 0.3},
    ),
    "adadelta": (Adadelta, {}, torch.optim.Adadelta, {}),
    "adadelta_lr": (Adadelta, {"lr": 0.3, "rho": 0.8}, torch.optim.Adadelta, {"lr": 0.3, "rho": 0.8}),
    "rmsprop": (RMSProp, {"eps_inside_root": False}, torch.optim.RMSprop, {"lr": 1e-3, "alpha": 0.9}),
    "rmsprop_momentum": (
        RMSProp,
        {"lr": 0.01, "rho": 0.99, "eps_inside_root": False, "momentum": 0.9},
        torch.optim.RMSprop,
        {"momentum": 0.9},
    ),
    "rmsprop_centered": (
        RMSProp,
        {"eps_inside_root": False, "centered": True, "momentum": 0.5},
        torch.optim.RMSprop,
        {"lr": 1e-3, "alpha": 0.9, "centered": True, "momentum": 0.5},
    ),
    "amsgrad": (AMSGrad, {}, torch.optim.Adam, {"amsgrad": True}),
    "amsgrad_betas": (AMSGrad, SHORT, torch.optim.Adam, {"amsgrad": True, **SHORT}),
    "adamax": (AdaMax, {}, torch.optim.Adamax, {}),
    "adamax_paper": (AdaMax, {"eps": 0.0, **SHORT}, torch.optim.Adamax, {"eps": 0.0, **SHORT}),
    "nadam": (NAdam, {}, torch.optim.NAdam, {}),
    "nadam_decay": (NAdam, {"momentum_decay": 0.3, **SHORT}, torch.optim.NAdam, {"momentum_decay": 0.3, **SHORT}),
    "lion": (Lion, {"weight_decay_form": "l2"}, pytorch_optimizer.Lion, {"weight_decouple": False}),
    "radam": (RAdam, {}, torch.optim.RAdam, {}),
    "radam_betas": (RAdam, SHORT, torch.optim.RAdam, SHORT),
    "adabelief": (AdaBelief, {}, pytorch_optimizer.AdaBelief, {"weight_decouple": False}),
    "adabelief_eps": (AdaBelief, {"eps": 1e-3}, pytorch_optimizer.AdaBelief, {"weight_decouple": False, "eps": 1e-3}),
    "adan": (Adan, {}, pytorch_optimizer.Adan, {}),
    "adan_betas": (Adan, {"betas": (0.9, 0.5, 0.8)}, pytorch_optimizer.Adan, {"betas": (0.9, 0.5, 0.8)}),
}
DECOUPLED_TWINS = {
    "lion": (Lion, {}, pytorch_optimizer.Lion, {}),
    "lion_fixed": (Lion, {"weight_decay_form": "decoupled"}, pytorch_optimizer.Lion, {"fixed_decay": True}),
    "nadam": (NAdam, {"weight_decay_form": "times_lr"}, torch.optim.NAdam, {"decoupled_weight_decay": True}),
    "radam": (RAdam, {"weight_decay_form": "times_lr"}, torch.optim.RAdam, {"decoupled_weight_decay": True}),
    "amsgrad": (AMSGrad, {"weight_decay_form": "times_lr"}, torch.optim.AdamW, {"amsgrad": True}),
    "adabelief": (AdaBelief, {"weight_decay_form": "times_lr"}, pytorch_optimizer.AdaBelief, {}),
}


@pytest.fixture
def _float64_numbers():
    """torch's NAdam keeps the product of its momenta in the default dtype; float32 would hide what float64 shows."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def hold_to_twin(rule, options, twin, twin_options, dtype, tolerance, weight_decay, maximize=False):
    """`maximize` is the twin on the gradient's opposite (pytorch_optimizer's own is off in Adan's first step)."""
    ours, theirs = parameters(dtype), parameters(dtype)
    optimizer = rule(ours, **options, weight_decay=weight_decay, maximize=maximize)
    reference = twin(theirs, **twin_options, weight_decay=weight_decay)
    for step in range(50):
        set_gradients(ours, step)
        given = [p.grad.clone() for p in ours]
        for b, g in zip(theirs, given, strict=True):
            b.grad = -g if maximize else g.clone()
        optimizer.step()
        reference.step()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        assert all(torch.equal(p.grad, g) for p, g in zip(ours, given, strict=True))


@pytest.mark.usefixtures("_float64_numbers")
@pytest.mark.parametrize("case", TWINS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.contract("equals its twin")
def test_equals_its_twin_in_float64(case, decay, maximize):
    hold_to_twin(*TWINS[case], torch.float64, 1e-12, weight_decay=decay, maximize=maximize)


@pytest.mark.parametrize("case", TWINS)
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.contract("equals its twin")
def test_equals_its_twin_in_float32(case, decay):
    hold_to_twin(*TWINS[case], torch.float32, 2e-6, weight_decay=decay)


@pytest.mark.usefixtures("_float64_numbers")
@pytest.mark.parametrize("case", DECOUPLED_TWINS)
def test_equals_its_twin_with_the_decay_outside(case):
    hold_to_twin(*DECOUPLED_TWINS[case], torch.float64, 1e-12, weight_decay=0.05)


@pytest.mark.parametrize("rule", [*RULES, lookahead])
def test_is_of_entries_alone(rule):
    """Every entry moves as it does on its own, and all of the state has the parameter's shape or is a number."""
    together = numbers([0.5, -1.0, 2.0])
    apart = [numbers(x) for x in together.tolist()]
    optimizer, others = rule([together]), rule(apart)
    for step in range(8):
        set_gradients([together], step)
        for p, g in zip(apart, together.grad, strict=True):
            p.grad = g.clone()
        optimizer.step()
        others.step()
    assert_same(together.detach(), torch.stack([p.detach() for p in apart]), 1e-14)
    for value in optimizer.state[together].values():
        assert value.shape == together.shape if isinstance(value, torch.Tensor) else isinstance(value, int | float)


# --- momentum

DROP = [0.1] * 10 + [0.01] * 20


@given(
    gradients=st.lists(st.floats(-10, 10), min_size=1, max_size=20),
    lrs=st.lists(st.floats(0, 1), min_size=20, max_size=20),
    momentum=st.floats(0, 0.99),
)
@settings(max_examples=50, deadline=None)
def test_heavy_ball_has_the_learning_rate_of_each_gradients_own_step(gradients, lrs, momentum):
    p = numbers(1.0)
    optimizer = HeavyBall([p], momentum=momentum)
    for g, lr in zip(gradients, lrs, strict=False):
        optimizer.param_groups[0]["lr"] = lr
        p.grad = torch.tensor(g, dtype=torch.float64)
        optimizer.step()
    n = len(gradients)
    # Unrolled: gradient i moves x at each of the steps i .. n, by lr_i momentum^(steps since).
    moved = sum(lrs[i] * gradients[i] * momentum ** (k - i) for i in range(n) for k in range(i, n))
    assert p.item() == pytest.approx(1.0 - moved, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("inside", "outside"), [(HeavyBall, SGDMomentum), (lookahead, Nesterov)])
def test_where_the_learning_rate_stands_matters_once_it_changes(inside, outside):
    a, b = path(inside, lrs=DROP), path(outside, lrs=DROP)
    assert_same(a[:10], b[:10])
    # At the drop the velocity with lr in it keeps its length, and the other's becomes ten times shorter.
    assert (a[10] - b[10]).norm() > 2 * (b[10] - b[9]).norm()


@pytest.mark.parametrize("rule", [HeavyBall, Nesterov, lookahead])
def test_without_momentum_is_plain_gradient_descent(rule):
    assert_same(path(rule, lrs=DROP, momentum=0.0), path(SGD, lrs=DROP))


def gradient_of(theta, step):
    return torch.sin(3 * theta) + theta * torch.linspace(0.2, 2.0, 5, dtype=torch.float64) + math.cos(step)


@pytest.mark.parametrize("lrs", [[0.1] * 40, [0.2 / (1 + k) for k in range(40)]])
@pytest.mark.parametrize("momenta", [[0.9] * 41, [0.95 - 0.1 * (k % 7) / 7 for k in range(41)], [0.0, 0.5] * 20 + [0]])
def test_lookahead_is_the_true_recursion_in_theta(lrs, momenta):
    p = numbers([1.0, -2.0, 0.3, 0.7, -0.1])
    theta, v = p.detach().clone(), torch.zeros(5, dtype=torch.float64)
    optimizer = lookahead([p])
    shifting = 0.0  # the momentum at the time of the shift
    for k, lr in enumerate(lrs):
        v = shifting * v + lr * gradient_of(theta - shifting * v, k)
        theta = theta - v
        shifting = momenta[k]
        optimizer.param_groups[0].update(lr=lr, momentum=momenta[k])
        p.grad = gradient_of(p.detach(), k)
        optimizer.step()
        assert_same(p.detach(), theta - shifting * v)
        trained = p.detach().clone()
        optimizer.eval()
        assert_same(p.detach(), theta)
        optimizer.train()
        assert torch.equal(p, trained)


def test_lookahead_alone_evaluates_elsewhere():
    p = numbers([1.0])
    assert lookahead([p]).evaluates_elsewhere
    assert not Nesterov([p]).evaluates_elsewhere
    Nesterov([p], cautious=True)
    with pytest.raises(ConfigError, match=r"optimizer.cautious=true is not possible for Nesterov"):
        lookahead([p], cautious=True)


def test_lookahead_evaluates_each_row_by_its_own_shift():
    """Row 0 was shifted with momentum 0.9 and not touched since; a number for all rows would use 0.5."""
    table = numbers([[1.0], [2.0]])
    optimizer = lookahead([table], lr=0.1, momentum=0.9)
    for row, momentum in [(0, 0.9), (1, 0.5)]:
        optimizer.param_groups[0]["momentum"] = momentum
        one = torch.ones(1, 1, dtype=torch.float64)
        table.grad = torch.sparse_coo_tensor([[row]], one, (2, 1), check_invariants=True)
        optimizer.step()
    assert table.flatten().tolist() == pytest.approx([1 - 0.1 - 0.09, 2 - 0.1 - 0.05])
    optimizer.eval()
    assert table.flatten().tolist() == pytest.approx([0.9, 1.9])


def test_lookahead_resumes_with_its_weights_to_evaluate():
    params = parameters(shapes=[(4, 3)])
    optimizer = lookahead(params)
    for step in range(5):
        set_gradients(params, step)
        optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = lookahead(again)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    optimizer.eval()
    resumed.eval()
    assert torch.equal(params[0], again[0])


def test_lookahead_is_faster_than_gradient_descent_on_a_ravine():
    """With q = sqrt(1 / condition), momentum (1 - q) / (1 + q): the error falls by 1 - q a step, not by 1 - q^2."""
    curvature = torch.tensor([1.0, 1e-4], dtype=torch.float64)
    q, left = 0.01, {}
    for rule, options in [(lookahead, {"momentum": (1 - q) / (1 + q)}), (SGD, {})]:
        p = numbers([1.0, 1.0])
        optimizer = rule([p], lr=1.0, **options)
        for _ in range(1000):
            p.grad = curvature * p.detach()
            optimizer.step()
        optimizer.eval()
        left[rule] = p.detach().abs().max().item()
    assert left[SGD] == pytest.approx((1 - q * q) ** 1000)
    assert left[lookahead] < 20 * (1 - q) ** 1000


# --- scales


def test_adagrad_with_a_constant_gradient_steps_by_one_over_root_t():
    steps = [1 / math.sqrt(t) for t in range(1, 21)]
    expected = [-0.5 * sum(steps[:t]) for t in range(1, 21)]
    assert follow(Adagrad, [3.0] * 20, lr=0.5, eps=0.0) == pytest.approx(expected, rel=1e-13)


def test_adagrad_is_blind_to_the_gradients_scale_and_its_start_is_not():
    g = [1.0, -2.0, 0.5, 3.0]
    assert follow(Adagrad, g, eps=0.0) == pytest.approx(follow(Adagrad, [1e6 * e for e in g], eps=0.0), rel=1e-12)
    assert follow(Adagrad, [3.0], lr=1.0, eps=0.0, initial_accumulator=16.0) == pytest.approx([-3 / 5])


def test_adadeltas_first_step_is_set_by_eps_and_needs_no_learning_rate():
    g, eps = 7.0, 1e-6
    assert follow(Adadelta, [g]) == pytest.approx([-math.sqrt(eps / (0.1 * g * g + eps)) * g], rel=1e-13)
    assert follow(Adadelta, [g])[0] == pytest.approx(-math.sqrt(eps / 0.1), rel=1e-6)


def test_adadelta_steps_in_the_units_of_x():
    """With x in units a times as large (and eps, of both squares, with them) the steps are a times as large."""
    gradients, a = [1.0, -2.0, 0.5, 3.0], 1e3
    in_metres = follow(Adadelta, gradients, eps=0.0, lr=1.0)
    assert in_metres == [0.0] * 4  # without eps nothing starts

    def started(scale):
        p = numbers(0.0)
        optimizer = Adadelta([p], eps=0.0)
        for step, g in enumerate(gradients):
            p.grad = torch.tensor(g / scale, dtype=torch.float64)
            if step == 0:
                optimizer.step()
                optimizer.state[p]["D"].fill_(scale**2)
            else:
                optimizer.step()
        return p.item()

    assert started(a) == pytest.approx(a * started(1.0), rel=1e-12)


def test_rmsprops_two_places_of_eps_differ_by_a_factor_of_root_eps():
    """A gradient that is far below eps: sqrt(eps) inside, eps outside."""
    g, eps = 1e-12, 1e-8
    assert follow(RMSProp, [g], lr=1.0, eps=eps)[0] == pytest.approx(-g / math.sqrt(eps), rel=1e-9)
    assert follow(RMSProp, [g], lr=1.0, eps=eps, eps_inside_root=False)[0] == pytest.approx(-g / eps, rel=1e-4)


def test_rmsprop_without_memory_is_the_sign():
    got = follow(RMSProp, [3.0, -1e-3, 2.0], lr=0.5, rho=0.0, eps=0.0)
    assert got == pytest.approx([-0.5, 0.0, -0.5], abs=1e-15)


@pytest.mark.parametrize("inside", [True, False])
def test_centered_rmsprop_survives_a_variance_that_rounds_below_zero(inside):
    p = nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    optimizer = RMSProp([p], centered=True, eps_inside_root=inside)
    variances = []
    for _ in range(200):
        p.grad = torch.tensor([1234.567, 0.1, 7e5])
        optimizer.step()
        state = optimizer.state[p]
        variances.append((state["E"] - state["a"] ** 2).min().item())
    assert min(variances) < 0
    assert torch.isfinite(p).all()


# --- Adam's kin


def test_amsgrad_is_adam_while_the_scale_grows():
    growing = [1.5**t for t in range(30)]
    assert follow(AMSGrad, growing) == pytest.approx(follow(Adam, growing), rel=1e-14)
    falling = growing[::-1]
    assert follow(AMSGrad, falling, betas=(0.9, 0.5)) != pytest.approx(follow(Adam, falling, betas=(0.9, 0.5)), rel=0.1)


def test_amsgrad_converges_where_adam_does_not():
    """Reddi et al. 2018, section 3: gradients C, -1, -1 on [-1, 1] with beta1 = 0 and beta2 = 1 / (1 + C^2)."""
    C = 4.0
    end = {}
    for rule in (Adam, AMSGrad):
        p = numbers(0.5)
        optimizer = rule([p], betas=(0.0, 1 / (1 + C * C)), eps=0.0)
        for t in range(1, 3001):
            optimizer.param_groups[0]["lr"] = 0.5 / math.sqrt(t)
            p.grad = torch.tensor(C if t % 3 == 1 else -1.0, dtype=torch.float64)
            optimizer.step()
            p.data.clamp_(-1, 1)
        end[rule] = p.item()
    assert end[Adam] > 0.9
    assert end[AMSGrad] < -0.9


def test_adamax_moves_by_lr_under_a_constant_gradient():
    """m^ = g and u = |g|, since b2 u < |g|: the papers' bound |step| <= lr, reached."""
    assert follow(AdaMax, [4.0] * 10, lr=0.1, eps=0.0) == pytest.approx([-0.1 * t for t in range(1, 11)], rel=1e-13)


def test_adamax_without_memory_is_the_sign():
    got = follow(AdaMax, [3.0, -7.0, 0.1], lr=0.1, betas=(0.0, 0.0), eps=0.0)
    assert got == pytest.approx([-0.1, 0.0, -0.1], abs=1e-15)


def test_adamax_is_the_limit_of_adam_with_ever_higher_norms():
    """Kingma and Ba, section 7.1: v_t = b2^p v_{t-1} + (1 - b2^p) |g|^p, u_t = v_t^(1/p) for p to infinity."""
    g, b2, lr = [1.0, -5.0, 0.3, 2.0, 0.1], 0.7, 0.1
    power = 400
    x, v, expected = 0.0, 0.0, []
    for e in g:
        v = b2**power * v + (1 - b2**power) * abs(e / 5) ** power
        x -= lr * e / (5 * v ** (1 / power))
        expected.append(x)
    assert follow(AdaMax, g, lr=lr, betas=(0.0, b2), eps=0.0) == pytest.approx(expected, rel=1e-2)


def test_nadam_without_momentum_is_adam_without_momentum():
    assert_same(path(NAdam, betas=(0.0, 0.99), lr=0.01), path(Adam, betas=(0.0, 0.99), lr=0.01), 1e-14)


def test_nadam_with_constant_momentum_is_adam_one_look_ahead():
    """momentum_decay large: mu = b1, and the step holds b1 m_t + (1 - b1) g_t with the corrections of t + 1 and t."""
    g, (b1, b2), lr = [1.0, 5.0, -0.1, 0.2, 3.0], (0.8, 0.9), 0.3
    m = v = x = 0.0
    expected = []
    for t, e in enumerate(g, start=1):
        m, v = b1 * m + (1 - b1) * e, b2 * v + (1 - b2) * e * e
        ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * e / (1 - b1**t)
        x -= lr * ahead / math.sqrt(v / (1 - b2**t))
        expected.append(x)
    assert follow(NAdam, g, lr=lr, betas=(b1, b2), eps=0.0, momentum_decay=1e9) == pytest.approx(expected, rel=1e-13)
    half = follow(NAdam, [2.0], lr=lr, betas=(b1, b2), eps=0.0, momentum_decay=0.0)
    mu = b1 / 2
    assert half == pytest.approx([-lr * (mu * (1 - b1) / (1 - mu * mu) + 1.0)], rel=1e-13)


@pytest.mark.parametrize("momentum_decay", [0.004, 0.3, 1e9])
def test_nadam_is_torchs_and_where_the_papers_differs(momentum_decay):
    """Dozat's moment has mu_t where torch's has b1; where mu_t is b1, for a large momentum_decay, they are one."""
    g, (b1, b2), lr = [1.0, 5.0, -0.1, 0.2, 3.0] * 3, (0.8, 0.9), 0.3
    moments = {"torch": 0.0, "paper": 0.0}
    points = {form: [0.0] for form in moments}
    v, product = 0.0, 1.0
    for t, e in enumerate(g, start=1):
        mu, mu_next = (b1 * (1 - 0.96 ** (s * momentum_decay) / 2) for s in (t, t + 1))
        product *= mu
        v = b2 * v + (1 - b2) * e * e
        for form, beta in (("torch", b1), ("paper", mu)):
            m = moments[form] = beta * moments[form] + (1 - beta) * e
            ahead = mu_next * m / (1 - product * mu_next) + (1 - mu) * e / (1 - product)
            points[form].append(points[form][-1] - lr * ahead / math.sqrt(v / (1 - b2**t)))
    ours = follow(NAdam, g, lr=lr, betas=(b1, b2), eps=0.0, momentum_decay=momentum_decay)
    assert ours == pytest.approx(points["torch"][1:], rel=1e-12)
    apart = [abs(a - b) for a, b in zip(ours, points["paper"][1:], strict=True)]
    if momentum_decay == 1e9:
        assert max(apart) < 1e-12
    else:  # from the first step on, by the part of m that they do not share
        mu, mu_next = (b1 * (1 - 0.96 ** (s * momentum_decay) / 2) for s in (1, 2))
        assert apart[0] == pytest.approx(lr * mu_next * (b1 - mu) / (1 - mu * mu_next))
        assert min(apart) > 1e-3


def test_nadams_product_of_momenta_is_a_number_of_the_state_that_sparse_steps_move_too():
    table = numbers([[1.0], [2.0]])
    optimizer = NAdam([table])
    for row in (0, 1, 0):
        one = torch.ones(1, 1, dtype=torch.float64)
        table.grad = torch.sparse_coo_tensor([[row]], one, (2, 1), check_invariants=True)
        optimizer.step()
    mus = [0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (1, 2, 3)]
    assert optimizer.state[table]["mu_product"] == pytest.approx(math.prod(mus), rel=1e-14)
    assert isinstance(optimizer.state_dict()["state"][0]["mu_product"], float)


@given(
    gradients=st.lists(st.floats(-10, 10).filter(lambda g: abs(g) > 1e-6), min_size=1, max_size=12),
    scale=st.floats(1e-3, 1e3),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0, 0.99)),
)
@settings(max_examples=50, deadline=None)
def test_lion_moves_every_entry_by_lr_and_is_blind_to_scale(gradients, scale, betas):
    points = follow(Lion, gradients, lr=0.25, betas=betas)
    steps = [b - a for a, b in zip([0.0, *points], points, strict=False)]
    assert all(abs(step) == 0.25 or step == 0.0 for step in steps)
    m, expected = 0.0, []
    for g in gradients:
        expected.append(-0.25 * math.copysign(1, betas[0] * m + (1 - betas[0]) * g))
        # An interpolation near 0 may round to either side.
        if abs(betas[0] * m + (1 - betas[0]) * g) < 1e-9:
            return
        m = betas[1] * m + (1 - betas[1]) * g
    assert steps == expected
    assert follow(Lion, [scale * g for g in gradients], lr=0.25, betas=betas) == points


def test_lion_with_beta1_zero_is_the_sign_of_the_gradient_and_its_decay_is_adamws():
    assert follow(Lion, [3.0, -7.0, 0.1], lr=0.5, betas=(0.0, 0.9)) == [-0.5, 0.0, -0.5]
    assert follow(Lion, [1.0], x=2.0, lr=0.5, weight_decay=0.1) == pytest.approx([2.0 * (1 - 0.05) - 0.5])


@pytest.mark.parametrize("b2", [0.0, 0.3, 0.6])
def test_radam_with_a_short_memory_is_momentum_with_bias_correction(b2):
    """b2 <= 2/3: the variance is never known well enough."""
    g, b1, lr = [1.0, 5.0, -0.1, 0.2, 3.0] * 8, 0.8, 0.3
    m = x = 0.0
    expected = []
    for t, e in enumerate(g, start=1):
        m = b1 * m + (1 - b1) * e
        x -= lr * m / (1 - b1**t)
        expected.append(x)
    assert follow(RAdam, g, lr=lr, betas=(b1, b2)) == pytest.approx(expected, rel=1e-13)


def test_radam_begins_to_adapt_at_step_six_and_becomes_adam():
    """b2 = 0.999: rho_t = t - O(t^2 / rho), which is above 5 from t = 6 on; r_t grows to 1."""
    points = follow(RAdam, [4.0] * 8, lr=0.1)
    steps = [b - a for a, b in zip([0.0, *points], points, strict=False)]
    assert steps[:5] == pytest.approx([-0.4] * 5)
    assert all(-0.1 < step < 0 for step in steps[5:])
    assert steps[5] > steps[6] > steps[7]
    late = follow(RAdam, [4.0] * 400, lr=0.1, betas=(0.9, 0.9), eps=0.0)
    assert late[-1] - late[-2] == pytest.approx(-0.1, rel=1e-9)


@pytest.mark.parametrize("b2", [0.999, 0.9, 0.8, 0.65, 0.6])
def test_radam_is_torchs_and_differs_from_the_papers_in_the_steps_between_their_bounds(b2):
    """torch adapts where rho_t > 5, the paper where rho_t > 4; a step of one gradient list depends on rho_t alone."""
    g, b1, lr = [1.0, 5.0, -0.1, 0.2, 3.0] * 12, 0.8, 0.3
    m = v = 0.0
    steps: dict[int, list[float]] = {4: [], 5: []}
    end, between = 2 / (1 - b2) - 1, []
    for t, e in enumerate(g, start=1):
        m, v = b1 * m + (1 - b1) * e, b2 * v + (1 - b2) * e * e
        rho = end - 2 * t * b2**t / (1 - b2**t)
        between += [4 < rho <= 5]
        for bound, moved in steps.items():
            adapted = 1.0
            if rho > bound:
                adapted = math.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
                adapted /= math.sqrt(v / (1 - b2**t))
            moved.append(-lr * adapted * m / (1 - b1**t))
    points = follow(RAdam, g, lr=lr, betas=(b1, b2), eps=0.0)
    ours = [b - a for a, b in zip([0.0, *points], points, strict=False)]
    assert ours == pytest.approx(steps[5], rel=1e-9, abs=1e-12)
    differs = [a != pytest.approx(b, rel=1e-3) for a, b in zip(ours, steps[4], strict=True)]
    assert differs == between
    assert any(between) == (b2 != 0.6)  # there rho never passes 4, and with 0.65 it never passes 5


def test_adabelief_without_momentum_believes_all_and_is_gradient_descent():
    """beta1 = 0: m = g, so that s is what eps alone gathers, eps / (1 - b2) after the correction."""
    g, eps, b2 = [1.0, -3.0, 0.2, 7.0], 1e-4, 0.9
    rate = 0.01 / (math.sqrt(eps / (1 - b2)) + eps)
    expected = [-rate * sum(g[: t + 1]) for t in range(len(g))]
    assert follow(AdaBelief, g, lr=0.01, betas=(0.0, b2), eps=eps) == pytest.approx(expected, rel=1e-12)


def test_adabelief_steps_are_longer_than_adams_where_gradients_agree():
    agree, stray = [1.0] * 40, [(-1.0) ** t for t in range(40)]
    assert follow(AdaBelief, agree)[-1] < 2 * follow(Adam, agree)[-1] < 0
    assert abs(follow(AdaBelief, stray)[-1]) == pytest.approx(abs(follow(Adam, stray)[-1]), rel=0.2)


# --- Adan


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.9), (0.5, 0.5)])
def test_adan_that_forgets_differences_is_adam(betas):
    """b2 = 0: neither n nor the step has the difference in it."""
    adan = path(Adan, betas=(betas[0], 0.0, betas[1]), lr=0.01)
    assert_same(adan, path(Adam, betas=betas, lr=0.01), 1e-13)


def test_adan_with_equal_betas_averages_the_nesterov_gradient():
    """b1 = b2 = b: m + b v is one average of g_t + b (g_t - g_{t-1}), with Adam's scale by the same gradient."""
    g, b, b3, lr = [1.0, 5.0, -0.1, 0.2, 3.0], 0.8, 0.9, 0.3
    ahead = [e + b * (e - before) for e, before in zip(g, [g[0], *g], strict=False)]
    expected = follow(Adam, ahead, lr=lr, betas=(b, b3), eps=0.0)
    assert follow(Adan, g, lr=lr, betas=(b, b, b3), eps=0.0) == pytest.approx(expected, rel=1e-12)


def test_adan_under_a_constant_gradient_is_adam():
    expected = follow(Adam, [2.0] * 10, betas=(0.9, 0.99))
    assert follow(Adan, [2.0] * 10, betas=(0.9, 0.7, 0.99)) == pytest.approx(expected, rel=1e-13)


def test_adans_decay_is_proximal_by_default_and_applied_once():
    """The proximal step minimises |z - y|^2 / (2 lr) + w |z|^2 / 2 over z, y the point without decay."""
    x, lr, w = 2.0, 0.5, 0.3
    y = follow(Adan, [4.0], x=x, lr=lr)[0]
    assert follow(Adan, [4.0], x=x, lr=lr, weight_decay=w) == pytest.approx([y / (1 + lr * w)])
    before = follow(Adan, [4.0], x=x * (1 - w), lr=lr)
    assert follow(Adan, [4.0], x=x, lr=lr, weight_decay=w, weight_decay_form="decoupled") == pytest.approx(before)
    penalised = follow(Adan, [4.0 + w * x], x=x, lr=lr)
    assert follow(Adan, [4.0], x=x, lr=lr, weight_decay=w, weight_decay_form="l2") == pytest.approx(penalised)


def test_adan_keeps_the_gradient_and_not_a_view_of_it():
    p = numbers([1.0, 2.0])
    optimizer = Adan([p])
    p.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    optimizer.step()
    p.grad.zero_()
    assert optimizer.state[p]["g"].tolist() == [3.0, 4.0]
    again = copy.deepcopy(optimizer.state_dict())
    assert again["state"][0]["g"].tolist() == [3.0, 4.0]


# --- bad input


@pytest.mark.parametrize(
    ("rule", "changed", "said"),
    [
        (Nesterov, {"form": "pytorch"}, "optimizer.form=pytorch is unknown; allowed are torch, lookahead"),
        (Adagrad, {"initial_accumulator": -1.0}, "optimizer.initial_accumulator=-1.0"),
        (AdaMax, {"betas": (1.0, 0.9)}, r"optimizer.betas=\[1.0, 0.9\]"),
        (NAdam, {"momentum_decay": -1.0}, "optimizer.momentum_decay=-1.0"),
    ],
)
def test_values_of_its_own_out_of_range_are_named(rule, changed, said):
    with pytest.raises(ConfigError, match=said):
        rule(parameters(), **changed)
