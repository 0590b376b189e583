"""The verdict on curves whose word is known, and on real short runs."""

import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from steepest.config import compose
from steepest.models import mlp
from steepest.runs.closing import rows as closing_rows
from steepest.runs.folder import RunFolder
from steepest.train import train
from steepest.trend import MOST, Curve, curve
from steepest.vanishing import gradient_remark
from steepest.verdict import verdict

ACCURACY, RETURN, DISTANCE = ("val/accuracy", "max"), ("val/return", "max"), ("val/distance", "min")
STEPS = 600
seeds = st.integers(0, 2**32 - 1)


def run_of(train_loss, val_loss, accuracy=lambda t: 1 - 0.9 * math.exp(-5 * t), lr=lambda t: 1 - t, noise=0.0, seed=0):
    """Rows of a run whose curves are functions of the share of the run, from 0 to 1; noise is relative."""
    draw = np.random.default_rng(seed).normal
    rows = [{"opt_step": 1, "train/initial_loss": train_loss(0.0) * (1 + noise * draw())}]
    for step in range(10, STEPS + 1, 10):
        t = step / STEPS
        rows.append({"opt_step": step, "train/loss": train_loss(t) * (1 + noise * draw()), "lr": 0.1 * lr(t)})
        if step % 60 == 0:
            found = {
                "val/loss": val_loss(t) * (1 + noise / 3 * draw()),
                "val/accuracy": accuracy(t) + noise / 10 * draw(),
            }
            rows.append({"opt_step": step, **found})
    return rows


def word(rows, headline=ACCURACY, status="finished"):
    found = verdict(rows, *headline, status)
    assert set(found) == {"word", "reason"}
    return found["word"]


def falling(rate, floor=0.05, start=2.3):
    return lambda t: floor + (start - floor) * math.exp(-rate * t)


def up_again(t):
    return 0.5 + 1.8 * math.exp(-12 * t) + 0.9 * max(0.0, t - 0.3)


CURVES = {
    "healthy": [
        (falling(8), falling(8, 0.2)),
        (falling(30), falling(30, 0.3)),
        (falling(6), lambda t: 0.4 + 1.9 * math.exp(-15 * t) + 0.02 * t),  # validation rises, by next to nothing
        (falling(6, 1.0), falling(6, 0.6)),  # augmentation and dropout: training is the higher one
        (falling(8, 0.5, 11.0), falling(8, 0.9, 11.0)),
        (lambda t: 3.2 + 7.2 * (1 + 300 * t) ** -0.5, lambda t: 3.6 + 7.2 * (1 + 300 * t) ** -0.5),  # a power law
    ],
    "stalled": [
        (lambda t: 2.3, lambda t: 2.3),
        (lambda t: 2.3 - 1e-6 * t, lambda t: 2.3 - 1e-6 * t),
        (lambda t: 2.3 + 0.1 * t, lambda t: 2.3),
    ],
    "overfitting": [
        (falling(8, 0.01), up_again),
        (falling(20, 0.001), lambda t: 1.2 + 1.1 * math.exp(-20 * t)),  # a gap from early on
    ],
    "undertrained": [
        (lambda t: 2.3 - 0.8 * t, lambda t: 2.3 - 0.7 * t),
        (falling(1), falling(1)),
        (falling(0.5), falling(0.5, 0.1)),
    ],
    "diverged": [
        (lambda t: 2.3 + 50 * t**2, lambda t: 2.3 + 50 * t**2),
        (lambda t: 2.3 if t == 0 else 30.0, lambda t: 30.0),
        (lambda t: falling(10)(t) if t < 0.6 else 1.9, lambda t: falling(10, 0.2)(t) if t < 0.6 else 2.0),
    ],
}
CASES = [(name, *pair) for name, pairs in CURVES.items() for pair in pairs]


@pytest.mark.parametrize(("expected", "train_loss", "val_loss"), CASES)
@given(seed=seeds, noise=st.sampled_from([0.0, 0.01, 0.03, 0.05]))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_curves_have_their_word_whatever_the_noise(expected, train_loss, val_loss, seed, noise):
    # Training goes on to improve the accuracy, but for runs that overfit.
    flat = expected in ("overfitting", "stalled", "diverged")
    accuracy = (lambda t: 0.6) if flat else (lambda t: 1 - 0.9 * math.exp(-5 * t))
    assert word(run_of(train_loss, val_loss, accuracy, noise=noise, seed=seed)) == expected


def test_a_learning_rate_that_is_still_high_makes_more_steps_worth_while():
    shape = falling(3.8), falling(3.8)
    assert word(run_of(*shape)) == "healthy"
    assert word(run_of(*shape, lr=lambda t: 1.0)) == "undertrained"
    assert "is not low yet" in verdict(run_of(*shape, lr=lambda t: 1.0), *ACCURACY, "finished")["reason"]


def test_a_headline_that_still_improves_is_no_overfitting():
    losses = falling(8, 0.3), lambda t: 0.5 + 1.8 * math.exp(-12 * t) + 0.4 * max(0.0, t - 0.3)
    assert word(run_of(*losses, accuracy=lambda t: 0.5 + 0.3 * t)) == "healthy"
    assert word(run_of(*losses, accuracy=lambda t: 0.6)) == "overfitting"


def test_a_loss_that_is_not_finite_has_diverged():
    rows = run_of(falling(8), falling(8))
    broken = [*rows, {"opt_step": 601, "train/loss": None}]
    assert verdict(broken, *ACCURACY, "diverged") == {
        "word": "diverged",
        "reason": f"the loss is no longer a finite number at step 601; the last finite training loss is "
        f"{falling(8)(1):.4g}",
    }
    for last in ({"val/loss": None}, {"val/loss": math.inf}, {"val/accuracy": math.nan}):
        assert word([*rows, {"opt_step": 601, **last}]) == "diverged"


def test_the_reason_has_the_figures():
    reason = verdict(run_of(falling(8, 0.01), up_again, accuracy=lambda t: 0.6), *ACCURACY, "finished")["reason"]
    best = min(up_again(k / 10) for k in range(1, 11))
    assert f"validation loss {best:.4g} at step" in reason
    assert f"{up_again(1):.4g} at the end" in reason


# --- where losses mean little ---


def scores(values, start=None, key="return", noise=0.0, seed=0):
    draw = np.random.default_rng(seed).normal
    name = "train/episodic_return" if key == "return" else f"train/{key}"
    rows = [{"opt_step": 10, name: start, "train/loss": 3.0}] if start is not None else []
    for number, value in enumerate(values, 1):
        rows.append({"opt_step": 10 * number, "train/loss": abs(draw()), "lr": 0.0})
        rows.append({"opt_step": 10 * number, f"val/{key}": value + noise * draw()})
    return rows


SCORES = [
    ("healthy", [20, 200, 400, 480, 500, 500, 495, 500, 500, 500], 20.0, RETURN),
    ("healthy", [500] * 10, 20.0, RETURN),  # solved before the first validation
    ("stalled", [21, 20, 22, 21, 20, 21, 22, 20, 21, 21], 20.0, RETURN),
    ("stalled", [-500] * 10, None, RETURN),
    ("undertrained", list(range(20, 520, 50)), 20.0, RETURN),
    ("diverged", [20, 200, 400, 480, 500, 300, 100, 30, 20, 20], 20.0, RETURN),
    ("healthy", [90, 40, 20, 12, 10, 9.5, 9.2, 9.1, 9, 9], None, DISTANCE),
    ("diverged", [50, 40, 30, 200, 300, 400, 400, 400, 400, 400], None, DISTANCE),
    ("undertrained", [50, 40, 30], None, DISTANCE),
    ("undertrained", [], None, DISTANCE),
]


@pytest.mark.parametrize(("expected", "values", "start", "headline"), SCORES)
@given(seed=seeds, noise=st.sampled_from([0.0, 0.02]))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_agents_and_adversaries_are_judged_by_their_headline(expected, values, start, headline, seed, noise):
    scale = noise * (max(values) - min(values)) if values else 0.0
    rows = scores(values, start, headline[0].partition("/")[2], scale, seed)
    assert word(rows, headline) == expected


# --- any rows at all ---

values = st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 1.0, -1.0, 1e300]))
names = ["train/loss", "val/loss", "val/accuracy", "train/accuracy", "train/initial_loss", "lr", "train/grad_depth"]
names += ["layers/a/grad_rms", "layers/b.bias/grad_rms"]
any_rows = st.lists(
    st.fixed_dictionaries({"opt_step": st.integers(0, 10**6)}, optional=dict.fromkeys(names, values)), max_size=30
)


@given(any_rows, st.sampled_from(["max", "min"]), st.sampled_from(["finished", "diverged"]))
@settings(max_examples=300, deadline=None)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_any_rows_have_a_verdict(rows, direction, status):
    found = verdict(rows, "val/accuracy", direction, status)
    assert found["word"] in ("diverged", "stalled", "overfitting", "undertrained", "healthy")
    assert found["reason"]


def test_long_runs_are_judged_in_no_time():
    rows = [
        {"opt_step": k, "train/loss": 1 / (k + 1), "val/loss": 1 / (k + 1), "val/accuracy": 0.5} for k in range(50_000)
    ]
    assert len(curve(rows, "train/loss")) == MOST
    assert word(rows) == "healthy"


# --- curves ---


def made(values, steps=None):
    return Curve(np.arange(1.0, len(values) + 1) if steps is None else np.array(steps), np.array(values, dtype=float))


@given(seeds, st.floats(-5, 5), st.sampled_from([0.01, 1.0]))
@settings(max_examples=20, deadline=None)
def test_the_noise_is_that_around_a_trend(seed, slope, sigma):
    t = np.arange(400.0)
    noise = np.random.default_rng(seed).normal(0, sigma, 400)
    assert made(slope * t + noise).noise == pytest.approx(sigma, rel=0.3)


def test_the_pace_of_the_end_is_a_robust_slope():
    values = 100 - np.arange(1.0, 61)
    values[[45, 52]] = 1000  # two outliers among the last thirty
    steps = np.arange(1.0, 61)
    late = steps > 30
    slope = theilslopes(values[late], steps[late]).slope
    assert slope == pytest.approx(-1, rel=0.05)
    assert made(values).late_gain() == pytest.approx(-slope * 59 / 4)
    assert made(-values).late_gain() == 0.0  # it rises
    assert made([5.0] * 60).late_gain() == 0.0


def test_the_best_is_no_single_lucky_value():
    values = [5.0] * 50
    values[20] = 0.0
    assert made(values).best == 5.0
    assert made([3.0, 1.0, 2.0]).best == 1.0  # few: each counts
    assert made([3.0, 1.0, 2.0], [10, 20, 30]).best_step == 20


# --- gradients ---


def measured(*gradients, depth=1.0):
    return [
        {"opt_step": k, "train/grad_depth": depth, **{f"layers/{n}/grad_rms": v for n, v in found.items()}}
        for k, found in enumerate(gradients, 1)
    ]


GOOD = {"a.weight": 1e-3, "a.bias": 1e-2, "b.weight": 2e-3, "c.weight": 5e-4}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], None),
        ([{"opt_step": 1, "train/loss": 1.0}], None),
        (measured(GOOD, GOOD), None),
        (measured(GOOD, {**GOOD, "b.weight": None}), "explode: that of b.weight is not finite at step 2"),
        (measured(GOOD, {**GOOD, "c.weight": 2e4}), r"explode: the RMS of c.weight is 2e\+04 at step 2"),
        (measured(GOOD, depth=1e-5), "vanish: the first layers have 1e-05 times"),
        (measured(GOOD, depth=4000.0), "explode: the first layers have 4e"),
        (measured(*[{**GOOD, "a.weight": 0.0}] * 3), "vanish: a.weight has less than"),
        (measured({**GOOD, "a.weight": 0.0}, GOOD, GOOD), None),  # begins with zeros, as some do
        (measured(*[{**GOOD, "a.bias": 0.0}] * 3), None),
        (measured(*[dict.fromkeys(GOOD, 1e-30)] * 3), None),  # all are small: it has converged
    ],
)
def test_gradients_that_vanish_or_explode(rows, said):
    found = gradient_remark(rows)
    assert found is None if said is None else re.match(said, found)


# --- real runs ---

WORDS = ["threads=1", "logger=none", "callbacks=default", "~callbacks.pictures", "dataset=digits", "model=mlp"]


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("healthy", ["budget={steps:200,epochs:null}"]),
        ("diverged", ["budget={steps:60,epochs:null}", "optimizer.lr=1000"]),
        ("diverged", ["budget={steps:60,epochs:null}", "optimizer=sgd", "optimizer.lr=1e30"]),
        ("stalled", ["budget={steps:60,epochs:null}", "optimizer.lr=1e-9"]),
        ("stalled", ["budget={steps:60,epochs:null}", "optimizer.lr=0.0"]),
        ("overfitting", ["budget={steps:300,epochs:null}", "dataset.validation_fraction=0.97", "batch.size=32"]),
        ("undertrained", ["budget={steps:20,epochs:null}", "optimizer.lr=0.005"]),
        ("undertrained", ["budget={steps:2,epochs:null}"]),
    ],
)
def test_real_runs(expected, words, capsys):
    train(compose([*WORDS, *words]))
    [path] = Path("runs").glob("r*")
    folder = RunFolder(path)
    found = folder.summary["verdict"]
    assert found["word"] == expected, found
    assert ("verdict", f"{expected}: {found['reason']}") in closing_rows(folder.status, folder.summary)
    assert f"verdict     {expected}: " in capsys.readouterr().out


def test_a_deep_sigmoid_network_has_gradients_that_vanish(monkeypatch, capsys):
    monkeypatch.setitem(mlp.ACTIVATIONS, "sigmoid", torch.nn.Sigmoid)
    deep = ["model.hidden=[16,16,16,16,16,16,16,16,16]", "model.activation=sigmoid", "budget={steps:30,epochs:null}"]
    train(compose([*WORDS, *deep]))
    [path] = Path("runs").glob("r*")
    assert RunFolder(path).summary["verdict"]["gradients"].startswith("vanish: ")
    assert "gradients   vanish: " in capsys.readouterr().out


def test_a_verdict_does_not_import_torch():
    program = "import sys; from steepest.verdict import verdict; verdict([], 'val/x', 'max', 'finished'); "
    program += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
