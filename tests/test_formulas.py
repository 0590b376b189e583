"""Every optimizer of conf/optimizer against tests/formulas.py, its formula in numpy written apart from the rule."""

import formulas
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from steepest.build import build
from steepest.config import conf_dir

NODES = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "optimizer").glob("*.yaml"))}

ELSEWHERE = {
    "newton": "its update needs the loss, not a gradient",
    "lbfgs": "its update needs the loss, not a gradient",
    "conjugate_gradient": "its update needs the loss, not a gradient",
    "natural_gradient": "its update needs the loss, not a gradient",
    "kfac": "its update needs the module",
    "torch": "no rule of ours",
    "library": "no rule of ours",
}
"""Optimizers without a formula here, and why; their own test files hold them to theirs."""

OPTIONS = {
    "nesterov": [{"form": "lookahead"}, {"form": "lookahead", "momentum": 0.5}],
    "adagrad": [{"initial_accumulator": 0.5}],
    "rmsprop": [
        {"eps_inside_root": inside, "centered": centered, "momentum": momentum, "eps": 1e-3}
        for inside in (False, True)
        for centered in (False, True)
        for momentum in (0.0, 0.9)
    ],
    "amsgrad": [{"bias_correction": False}],
    "nadam": [{"momentum_decay": 0.3}],
    "radam": [{"betas": [0.9, 0.999], "eps": 1e-2}, {"betas": [0.9, 0.5], "eps": 1e-2}],
    "adabelief": [{"eps": 1e-2}],
    "lamb": [{"trust_bounds": [0.5, 2.0]}, {"trust_bounds": [0.0, 0.1], "eps": 1e-2}],
    "lars": [{"trust_coefficient": 0.5, "eps": 1e-2}],
    "adafactor": [{"eps": [1e-3, 0.5]}, {"clip_threshold": 1.5}, {"beta2_decay": -0.5}],
    "prodigy": [
        {"d0": 0.1, "eps": 0.1},
        {"d0": 0.01, "growth_rate": 1.5, "d_coefficient": 2.0},
        {"d0": 0.01, "bias_correction": True, "beta3": 0.8},
        {"d0": 0.01, "bias_correction": True, "safeguard_warmup": True},
    ],
    "schedule_free_sgd": [{"r": 2.0, "momentum": 0.4}],
    "schedule_free_adamw": [{"r": 1.0, "weight_lr_power": 0.0, "betas": [0.4, 0.8]}],
    "muon": [
        {"adjust_lr": "original", "nesterov": False},
        {"momentum": 0.5, "ns_steps": 2, "eps": 100.0},
        {"matrix": False},
    ],
    "shampoo": [
        {"every": 1, "momentum": 0.0},
        {"every": 1, "beta2": 0.7},
        {"every": 3, "max_dim": 2},
        {"max_dim": 1},
        {"matrix": False},
    ],
    "soap": [
        {"every": 1},
        {"every": 2, "shampoo_beta": 0.5},
        {"every": 1, "max_dim": 2},
        {"max_dim": 1},
        {"bias_correction": False},
        {"matrix": False},
    ],
    "mirror_descent": [{"mirror": "euclidean"}, {"mirror": "entropy"}, {"p": 3.0}],
    "coordinate_descent": [
        {"block": 2},
        {"order": "greedy"},
        {"order": "greedy", "l1": 0.3},
        {"block": 0.5, "l1": 0.3},
        {"order": "greedy", "block": 0.5, "l1": 0.3},
    ],
}
"""Settings beside the defaults to hold against the formula."""

OFTEN = {"eps": 1e-2, "betas": [0.5, 0.8], "momentum": 0.5, "rho": 0.6}
"""Other values of the hyperparameters that many rules have: that eps is in its place shows best where it is large."""

ANY_RANK = [(), (3,), (2, 3), (2, 2, 2)]
MATRICES = [(3,), (2, 3), (3, 2), (3, 3), (2, 2, 2)]
SHAPES = {"muon": MATRICES, "shampoo": MATRICES, "soap": MATRICES, "entropy": ANY_RANK[1:]}
"""Shapes other than those of any rank, by the optimizer or its geometry."""

INSTEAD = {
    "coordinate_descent": {"order": "cyclic"},  # of the random order only the rule knows the entries
    "muon": {"ns_dtype": "float64"},  # the default, bfloat16, keeps three digits
}
"""Settings in place of the defaults, in all cases."""


def cases():
    for name in sorted(NODES.keys() - ELSEWHERE.keys()):
        often = {k: v for k, v in OFTEN.items() if k in NODES[name] and kind(NODES[name][k]) == kind(v)}
        for options in [{}, *([often] if often else []), *OPTIONS.get(name, [])]:
            yield name, INSTEAD.get(name, {}) | options


def kind(value):
    return len(value) if isinstance(value, list) or OmegaConf.is_list(value) else isinstance(value, float)


def start(options, shape, generator):
    """The point where the parameter starts; mirror descent with entropy works in the simplex."""
    x = generator.normal(size=shape)
    if options.get("mirror") == "entropy":
        x = np.abs(x) / np.sum(np.abs(x), axis=-1, keepdims=True)
    return x


def zeros_of(name, options):
    """What may be 0 where the formula says what is then done: the point, the gradients, the first of them, entries."""
    zeros = {"point", "gradients", "first gradients", "entries"}
    if options.get("mirror") == "entropy":
        zeros -= {"point"}  # it is not in the simplex
    if options.get("order") == "greedy":
        zeros -= {"gradients", "first gradients", "entries"}  # which one is the steepest of equals is anyone's choice
    if name == "soap":
        zeros = {"point"}  # without them eigenvalues come twice, whose eigenvectors are anyone's choice
    return sorted(zeros)


def may_be_cautious(name, options):
    """Not where the steps are not those of the weights to evaluate, nor where they stay in the simplex."""
    if options.get("mirror") == "entropy":
        return False
    return not build(NODES[name], **options)([nn.Parameter(torch.ones(2))]).evaluates_elsewhere


def follow(name, x, gradients, rates, h):
    """The formula's path, with the decay, `maximize` and `cautious` of every rule: (weights to evaluate, held)."""
    s = {"x_0": x}
    for t, (g, lr) in enumerate(zip(gradients, rates, strict=True), start=1):
        h = h | {"lr": lr}
        g = -g if h["maximize"] else g
        if h["weight_decay_form"] not in formulas.OWN_DECAY.get(name, ()):
            w = h["weight_decay"]
            match h["weight_decay_form"]:
                case "l2":
                    g = g + w * x
                case "times_lr":
                    x = x - h["lr"] * w * x
                case "decoupled":
                    x = x - w * x
        new = getattr(formulas, name)(x, g, s, t, h)
        if h["cautious"]:
            u = new - x
            kept = u * g < 0
            new = x + u * (kept * (np.size(u) / (np.sum(kept) + 1)))  # a factor of 1 leaves an exact 0
        x = new
    return formulas.EVALUATED.get(name, lambda x, s, h: x)(x, s, h), x


@pytest.mark.parametrize(
    ("name", "options"), [pytest.param(*case, id=f"{case[0]}-{case[1]}") for case in sorted(cases(), key=str)]
)
@given(data=st.data())
@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a seed cannot shrink
@pytest.mark.contract("follows its formula")
def test_follows_its_formula(name, options, data):
    draw = data.draw
    generator = np.random.default_rng(draw(st.integers(0, 2**32), label="seed"))
    shape = draw(st.sampled_from(SHAPES.get(options.get("mirror", name), ANY_RANK)), label="shape")
    size = draw(st.sampled_from([0.01, 1.0, 30.0]), label="size of the gradients")
    x = start(options, shape, generator)
    gradients = [
        size * generator.choice([-1, 1], shape) * generator.uniform(0.1, 1, shape)
        for _ in range(draw(st.integers(1, 8), label="steps"))
    ]
    zeros = draw(st.sampled_from(["nothing", "nothing", *zeros_of(name, options)]), label="zeros")
    x = np.zeros(shape) if zeros == "point" else x
    kept = generator.integers(0, 2, shape) if zeros == "entries" else 1.0
    few = {"gradients": 8, "first gradients": 2}.get(zeros, 0)
    gradients = [g * (kept if i >= few else 0.0) for i, g in enumerate(gradients)]
    changed = options | {
        "weight_decay": draw(st.sampled_from([0.0, 0.1]), label="weight_decay"),
        "weight_decay_form": draw(st.sampled_from(["l2", "times_lr", "decoupled"]), label="weight_decay_form"),
        "maximize": draw(st.booleans(), label="maximize"),
        "cautious": may_be_cautious(name, options) and draw(st.booleans(), label="cautious"),
    }
    lr, factor = draw(st.floats(1e-3, 1.0), label="lr"), draw(st.sampled_from([1.0, 0.8, 1.2]), label="factor of lr")
    rates = [lr * factor**i for i in range(len(gradients))]
    p = nn.Parameter(torch.tensor(x))
    optimizer = build(NODES[name], **changed)([p])
    h = optimizer.param_groups[0]
    for g, lr in zip(gradients, rates, strict=True):
        h["lr"] = lr
        p.grad = torch.tensor(g)
        optimizer.step()
        assert np.array_equal(p.grad, g)
    evaluated, held = follow(name, x, gradients, rates, h)
    np.testing.assert_allclose(p.detach(), held, rtol=1e-9, atol=1e-9)
    optimizer.eval()
    np.testing.assert_allclose(p.detach(), evaluated, rtol=1e-9, atol=1e-9)


def test_settings_are_of_optimizers_that_exist():
    assert OPTIONS.keys() | INSTEAD.keys() <= NODES.keys()


@pytest.mark.parametrize("name", NODES)
def test_has_a_formula_or_a_reason(name):
    assert callable(getattr(formulas, name, None)) != (name in ELSEWHERE)
