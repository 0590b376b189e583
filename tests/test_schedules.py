"""Schedules: torch's schedulers step for step, formulas written anew, properties of every yaml, bad input, driver."""

import inspect
import math
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch.optim import lr_scheduler as torch_schedulers

from steepest.build import build, target
from steepest.config import conf_dir
from steepest.errors import ConfigError, shown
from steepest.optimizers.adamw import AdamW
from steepest.schedules import duration
from steepest.schedules.driver import apply

YAMLS = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "schedule").glob("*.yaml"))}
LR = 0.4
every_schedule = pytest.mark.parametrize("name", YAMLS)


def make(name, **overrides):
    """The schedule of `conf/schedule/<name>.yaml`; an override must exist there."""
    node = OmegaConf.to_container(YAMLS[name])
    assert set(overrides) <= set(node), f"{name}.yaml has no {set(overrides) - set(node)}"
    cls = target(node)
    del node["_target_"]
    return cls(**node | overrides)


def curve(schedule, total, steps=None):
    return np.array([schedule.multiplier(t, total) for t in range(total if steps is None else steps)])


def optimizer(lr=LR, cls=torch.optim.SGD, **options):
    return cls([torch.nn.Parameter(torch.zeros(1))], lr=lr, **options)


def torch_curve(make_scheduler, steps, key="lr", **options):
    """What torch's scheduler makes of a real optimizer's learning rate (or momentum), step by step."""
    opt = optimizer(**options)
    scheduler = make_scheduler(opt)
    values = [opt.param_groups[0][key]]
    for _ in range(steps - 1):
        opt.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # SequentialLR passes the deprecated epoch argument itself
            scheduler.step()
        values.append(opt.param_groups[0][key])
    return np.array(values, dtype=float)


def assert_same(ours, reference):
    np.testing.assert_allclose(ours, reference, rtol=1e-9, atol=1e-12)


# --- torch's schedulers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 7, 30, 200])
def test_step_is_torchs_step_lr(every):
    reference = torch_curve(lambda o: torch_schedulers.StepLR(o, every, gamma=0.3), 100)
    assert_same(LR * curve(make("step", gamma=0.3, every=every), 100), reference)


@pytest.mark.parametrize("per", [10, 100])
def test_exponential_is_torchs_exponential_lr(per):
    reference = torch_curve(lambda o: torch_schedulers.ExponentialLR(o, math.exp(-2.5 / per)), 100)
    assert_same(LR * curve(make("exponential", rate=2.5, per=per), 100), reference)


@pytest.mark.parametrize("min_lr", [0.0, 0.1])
def test_cosine_is_torchs_cosine_annealing_lr_until_the_end(min_lr):
    reference = torch_curve(lambda o: torch_schedulers.CosineAnnealingLR(o, 100, eta_min=min_lr), 100)
    assert_same(LR * curve(bound("cosine", 100, min_lr=min_lr), 100), reference)


def test_cosine_holds_its_minimum_where_torch_rises_again():
    reference = torch_curve(lambda o: torch_schedulers.CosineAnnealingLR(o, 100, eta_min=0.04), 150)
    ours = LR * curve(make("cosine", min_ratio=0.1), 100, steps=150)
    assert reference[149] > 0.2
    assert ours[100:] == pytest.approx([0.04] * 50)


@pytest.mark.parametrize("warmup", [1, 10, 40])
@pytest.mark.parametrize("min_ratio", [0.0, 0.2])
def test_linear_warmup_decay_is_two_linear_lrs_in_sequence(warmup, min_ratio):
    def reference(o):
        up = torch_schedulers.LinearLR(o, 1 / (warmup + 1), 1.0, total_iters=warmup)
        down = torch_schedulers.LinearLR(o, 1.0, min_ratio, total_iters=100 - warmup)
        return torch_schedulers.SequentialLR(o, [up, down], [warmup])

    ours = make("linear_warmup_decay", warmup=warmup, min_ratio=min_ratio)
    assert_same(LR * curve(ours, 100), torch_curve(reference, 100))


@pytest.mark.parametrize("warmup", [1, 10, 40])
@pytest.mark.parametrize("min_ratio", [0.0, 0.2])
def test_warmup_cosine_is_a_linear_lr_and_a_cosine_annealing_lr_in_sequence(warmup, min_ratio):
    def reference(o):
        up = torch_schedulers.LinearLR(o, 1 / (warmup + 1), 1.0, total_iters=warmup)
        down = torch_schedulers.CosineAnnealingLR(o, 100 - warmup, eta_min=LR * min_ratio)
        return torch_schedulers.SequentialLR(o, [up, down], [warmup])

    assert_same(LR * curve(make("warmup_cosine", warmup=warmup, min_ratio=min_ratio), 100), torch_curve(reference, 100))


def test_a_linear_warmup_is_torchs_linear_lr_times_a_constant_lr():
    def reference(o):
        up = torch_schedulers.LinearLR(o, 1 / 21, 1.0, total_iters=20)
        return torch_schedulers.ChainedScheduler([up, torch_schedulers.ConstantLR(o, 1.0, 1)])

    assert_same(LR * curve(make("wsd", warmup=20, decay=0), 100), torch_curve(reference, 100))


@pytest.mark.parametrize(("decay", "mode"), [(1.0, "triangular"), (0.5, "triangular2")])
def test_cyclical_is_torchs_cyclic_lr(decay, mode):
    def reference(o):
        return torch_schedulers.CyclicLR(o, 0.1 * LR, LR, step_size_up=10, mode=mode, cycle_momentum=False)

    assert_same(LR * curve(make("cyclical", cycle=20, decay=decay), 90), torch_curve(reference, 90))


@settings(deadline=None, max_examples=25)
@given(
    st.integers(4, 120), st.floats(0.1, 0.5), st.sampled_from(["cosine", "linear"]), st.booleans(), st.floats(0.01, 0.5)
)
def test_one_cycle_is_torchs_one_cycle_lr_with_its_momentum(total, warmup, anneal, three_phase, start_ratio):
    assume(warmup * total > 1.001)  # torch divides by zero, or by next to nothing

    def reference(o):
        return torch_schedulers.OneCycleLR(
            o,
            LR,
            total,
            pct_start=warmup,
            anneal_strategy={"cosine": "cos", "linear": "linear"}[anneal],
            div_factor=1 / start_ratio,
            final_div_factor=start_ratio / 0.001,
            three_phase=three_phase,
        )

    options = {"anneal": anneal, "three_phase": three_phase, "start_ratio": start_ratio, "min_ratio": 0.001}
    ours = make("one_cycle", warmup=warmup, **options)
    assert_same(LR * curve(ours, total), torch_curve(reference, total, momentum=0.9))
    momenta = [ours.momentum(t, total) for t in range(total)]
    assert_same(momenta, torch_curve(reference, total, key="momentum", momentum=0.9))


def test_one_cycle_has_torchs_defaults():
    reference = torch_curve(lambda o: torch_schedulers.OneCycleLR(o, LR, 200), 200, momentum=0.9)
    assert_same(LR * curve(make("one_cycle"), 200), reference)


@pytest.mark.parametrize("multiplier", [1, 2, 3])
@pytest.mark.parametrize("min_ratio", [0.0, 0.1])
def test_sgdr_is_torchs_cosine_annealing_warm_restarts(multiplier, min_ratio):
    def reference(o):
        return torch_schedulers.CosineAnnealingWarmRestarts(o, 10, multiplier, eta_min=LR * min_ratio)

    ours = make("sgdr", first_cycle=10, cycle_multiplier=multiplier, min_ratio=min_ratio)
    assert_same(LR * curve(ours, 400), torch_curve(reference, 400))


@pytest.mark.parametrize("power", [0.5, 0.9, 1.0, 2.0])
def test_polynomial_is_torchs_polynomial_lr(power):
    reference = torch_curve(lambda o: torch_schedulers.PolynomialLR(o, 100, power), 100)
    assert_same(LR * curve(make("polynomial", power=power), 100), reference)


# --- formulas written anew ----------------------------------------------------------------------------------------


def test_constant_is_one():
    assert curve(make("constant"), 50).tolist() == [1.0] * 50


def test_inverse_time_is_its_formula():
    t = np.arange(100)
    assert_same(curve(make("inverse_time", rate=3.0, per=20, power=0.75), 100), 1 / (1 + 3 * t / 20) ** 0.75)


def test_inverse_time_meets_the_conditions_of_robbins_and_monro():
    """Sums to T and 10 T: of the learning rates they keep growing, of their squares they settle."""
    for power in (0.6, 1.0):
        rates = curve(make("inverse_time", rate=1.0, per=1, power=power), 100_000)
        assert rates.sum() > 1.2 * rates[:10_000].sum()
        tails = [np.square(rates[a:b]).sum() for a, b in ((100, 1000), (1000, 10_000), (10_000, 100_000))]
        assert tails[0] > 1.5 * tails[1] > 2.25 * tails[2]


def test_inverse_sqrt_is_the_transformers_formula_scaled_to_its_peak():
    warmup_steps = 21  # the paper's, which counts steps from 1
    s = np.arange(1, 201)
    paper = 512**-0.5 * np.minimum(s**-0.5, s * warmup_steps**-1.5)
    assert_same(curve(make("inverse_sqrt", warmup=warmup_steps - 1), 200), paper / paper.max())


@pytest.mark.parametrize(
    ("shape", "f"),
    [
        ("linear", lambda x: 1 - x),
        ("cosine", lambda x: np.cos(np.pi * x / 2) ** 2),
        ("sqrt", lambda x: 1 - x**0.5),
    ],
)
def test_wsd_ramps_up_holds_and_decays(shape, f):
    ours = curve(make("wsd", warmup=10, decay=0.4, decay_shape=shape, min_ratio=0.2), 100, steps=101)
    expected = [(np.arange(10) + 1) / 11, np.ones(50), 0.2 + 0.8 * f(np.arange(41) / 40)]
    assert_same(ours, np.concatenate(expected))


def test_cyclical_in_cosine_shape_swings_between_its_bounds():
    ours = curve(make("cyclical", cycle=20, shape="cosine", decay=0.5, min_ratio=0.2), 60)
    t = np.arange(60)
    assert_same(ours, 0.2 + 0.8 * 0.5 ** (t // 20) * np.sin(np.pi * t / 20) ** 2)


def test_sgdr_cycles_may_grow_by_any_factor():
    ours = curve(make("sgdr", first_cycle=10, cycle_multiplier=1.5), 10_000)
    restarts = [t for t in range(1, 10_000) if ours[t] > ours[t - 1]]
    ends = np.cumsum([10 * 1.5**n for n in range(15)])
    assert restarts == [math.ceil(end) for end in ends if end < 10_000]


def test_sgdr_does_not_restart_on_the_last_step_of_the_run():
    assert make("sgdr", first_cycle=25, cycle_multiplier=1.0, min_ratio=0.1).multiplier(100, 100) == pytest.approx(0.1)
    assert make("sgdr").multiplier(7000, 7000) == pytest.approx(0.0, abs=1e-9)


def test_a_drop_that_falls_on_the_end_of_the_run_does_not_happen():
    assert make("step", gamma=0.5, every=0.25).multiplier(100, 100) == 0.5**3


def test_drops_and_cycles_are_not_late_by_rounding():
    assert math.floor(7 / (0.01 * 140)) < 5  # what floats make of it
    assert make("step", gamma=0.5, every=0.01).multiplier(7, 140) == 0.5**5


def test_a_warmup_that_is_rounded_up_to_whole_steps_shortens_the_decay_after_it():
    assert_same(curve(bound("wsd", 3, warmup=0.5, decay=0.5), 3), [1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("name", [name for name in YAMLS if "warmup" in YAMLS[name] and name != "one_cycle"])
def test_a_warmup_starts_above_zero_and_peaks_exactly_at_its_end(name):
    ours = curve(make(name, warmup=10), 100)
    assert_same(ours[:11], np.arange(1, 12) / 11)
    assert ours[10] == ours.max() == 1.0
    assert curve(make(name, warmup=0), 100)[0] == 1.0


# --- properties of every yaml -------------------------------------------------------------------------------------

FRACTION = st.floats(0.0, 0.5)
PERIOD = st.one_of(st.integers(1, 500), st.floats(0.01, 1.0))
FIELDS = {
    "warmup": st.one_of(FRACTION, st.just(0)),
    "decay_shape": st.sampled_from(["linear", "cosine", "sqrt"]),
    "every": PERIOD,
    "per": PERIOD,
    "cycle": PERIOD,
    "first_cycle": PERIOD,
    "cycle_multiplier": st.floats(1.0, 100.0),
    "gamma": st.floats(0.01, 1.0),
    "rate": st.floats(0.0, 1e6),
    "shape": st.sampled_from(["triangular", "cosine"]),
    "anneal": st.sampled_from(["cosine", "linear"]),
    "three_phase": st.booleans(),
    "start_ratio": st.floats(0.0, 1.0),
    "min_ratio": st.floats(0.0, 1.0),
}


def drawn(data, name):
    """The schedule of a yaml, with some of its values replaced by drawn ones."""
    keys = data.draw(st.sets(st.sampled_from(sorted(set(FIELDS) & set(YAMLS[name])) or ["_target_"])))
    return make(name, **{key: data.draw(FIELDS[key], label=key) for key in keys & set(FIELDS)})


@every_schedule
@settings(deadline=None, max_examples=40)
@given(data=st.data(), total=st.one_of(st.just(1), st.integers(1, 12), st.integers(1, 5000)))
def test_every_multiplier_is_finite_pure_within_zero_and_one_and_held_beyond_the_end(name, data, total):
    schedule = drawn(data, name).bind(lr=LR, steps_per_epoch=7, total=total)
    steps = [*data.draw(st.lists(st.integers(0, 2 * total), max_size=30)), 0, total - 1, total]
    values = {t: schedule.multiplier(t, total) for t in steps}
    assert all(isinstance(value, float) and 0.0 <= value <= 1.0 + 1e-12 for value in values.values())
    assert [schedule.multiplier(t, total) for t in reversed(steps)] == [values[t] for t in reversed(steps)]
    assert all(values[t] == values[total] for t in steps if t >= total)
    momenta = [schedule.momentum(t, total) for t in steps]
    assert momenta == [None] * len(steps) or all(0.0 <= m < 1.0 for m in momenta)
    again = pickle.loads(pickle.dumps(schedule))
    assert again == schedule
    assert again.multiplier(steps[0], total) == values[steps[0]]


@every_schedule
def test_the_value_held_beyond_the_end_is_where_the_run_was_heading(name):
    """The limit at `total` from below: a long run's last update is next to it."""
    schedule = make(name)
    assert schedule.multiplier(10**6, 10**6) == pytest.approx(schedule.multiplier(10**6 - 1, 10**6), abs=2e-5)


@every_schedule
def test_a_run_of_a_single_step_learns(name):
    assert make(name).multiplier(0, 1) > 0.05


@every_schedule
def test_a_fraction_of_the_run_scales_with_it(name):
    schedule = make(name)
    short, long = curve(schedule, 1000)[::20], curve(schedule, 100_000)[::2000]
    assert np.abs(short - long).max() < 0.03


@every_schedule
def test_yaml_states_every_field_with_its_default(name):
    node = OmegaConf.to_container(YAMLS[name])
    parameters = inspect.signature(target(node)).parameters
    del node["_target_"]
    assert node == {key: parameter.default for key, parameter in parameters.items()}
    assert build(YAMLS[name]) == make(name) == target(YAMLS[name])()


@every_schedule
def test_every_period_and_phase_takes_epochs(name):
    schedule = make(name)
    fields = schedule.phases + schedule.periods
    bound_ = make(name, **dict.fromkeys(fields, "2 epochs")).bind(lr=LR, steps_per_epoch=7, total=100)
    assert all(getattr(bound_, field) == 14 for field in fields)
    assert bound_.bind(lr=LR, steps_per_epoch=9, total=100) == bound_


# --- durations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "steps"),
    [(0, 0), (1, 1), (1.0, 100), (0.25, 25), (500, 500), ("3 epochs", 30), ("1 epoch", 10), (" 0.5epochs ", 5)],
)
def test_a_duration_is_steps_a_fraction_or_epochs(value, steps):
    assert duration.to_steps(value, 100, 10, "validation.every") == steps


BAD_DURATIONS = [-1, -0.1, 1.5, math.nan, math.inf, True, None, "", "3", "epochs", "-3 epochs", "3 steps", [1]]


@pytest.mark.parametrize("value", BAD_DURATIONS)
def test_what_is_not_a_duration_is_refused_by_key_and_value(value):
    with pytest.raises(ConfigError) as error:
        duration.to_steps(value, 100, 10, "validation.every")
    assert f"validation.every={shown(value)} is not a duration; allowed are" in str(error.value)


@pytest.mark.parametrize("value", [*BAD_DURATIONS, 0, 0.0, "0 epochs"])
def test_a_period_is_longer_than_zero(value):
    with pytest.raises(ConfigError, match=r"schedule\.every="):
        make("step", every=value)


@settings(deadline=None)
@given(st.integers(1, 10**6), st.floats(0, 1), st.integers(1, 5000), st.decimals(0, 500, places=2))
def test_a_duration_never_outlasts_what_it_is_a_part_of(total, fraction, per_epoch, epochs):
    assert 0 <= duration.in_steps(fraction, total) <= total
    steps = duration.to_steps(f"{epochs} epochs", total, per_epoch, "key")
    assert abs(steps - float(epochs) * per_epoch) <= 0.5


def test_an_epoch_shorter_than_a_step_still_makes_a_period():
    assert make("step", every="0.1 epochs").bind(lr=1.0, steps_per_epoch=1, total=5).every == 1


# --- bind ---------------------------------------------------------------------------------------------------------


def bound(name, total, **overrides):
    return make(name, **overrides).bind(lr=LR, steps_per_epoch=10, total=total)


def test_an_absolute_minimum_becomes_a_ratio():
    for name in (name for name in YAMLS if "min_lr" in YAMLS[name]):
        schedule = bound(name, 1000, min_lr=0.1)
        assert (schedule.min_ratio, schedule.min_lr) == (0.25, None)
        assert schedule.multiplier(1000, 1000) == pytest.approx(0.25)


def test_an_absolute_minimum_of_zero_replaces_a_ratio():
    assert bound("cyclical", 100, min_lr=0.0).multiplier(0, 100) == 0.0
    assert make("cosine", min_lr=0.0).bind(lr=0.0, steps_per_epoch=1, total=1).min_ratio == 0.0


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("cosine", {"min_lr": 0.5}, r"schedule\.min_lr=0.5 exceeds the learning rate 0.4; allowed is from 0 to 0.4"),
        ("warmup_cosine", {"warmup": 101}, r"schedule\.warmup=101 would take 101 steps of a run of 100; allowed"),
        ("linear_warmup_decay", {"warmup": "11 epochs"}, r"schedule\.warmup='11 epochs' would take 110 steps of a run"),
        ("inverse_sqrt", {"warmup": 200}, r"schedule\.warmup=200"),
        ("one_cycle", {"warmup": 101}, r"schedule\.warmup=101"),
        ("one_cycle", {"warmup": 0.6, "three_phase": True}, r"schedule\.warmup=0.6 would take 120 steps"),
        ("wsd", {"warmup": 60, "decay": 0.5}, r"schedule\.warmup=60 and schedule\.decay=0.5 would take 110 steps"),
    ],
)
def test_bind_refuses_what_the_run_cannot_hold(name, overrides, message):
    with pytest.raises(ConfigError, match=message):
        bound(name, 100, **overrides)


@pytest.mark.parametrize("name", ["warmup_cosine", "linear_warmup_decay", "wsd"])
def test_a_warmup_may_fill_the_run(name):
    overrides = {"decay": 0} if name == "wsd" else {}
    schedule = bound(name, 10, warmup=10, **overrides)
    assert schedule.multiplier(9, 10) == pytest.approx(10 / 11)
    assert schedule.multiplier(10, 10) == 1.0


def test_what_needs_bind_says_so():
    with pytest.raises(ValueError, match="bind"):
        make("warmup_cosine", warmup="1 epoch").multiplier(0, 100)
    with pytest.raises(ValueError, match="bind"):
        make("cosine", min_lr=0.1).multiplier(0, 100)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("step", "gamma", 0),
        ("step", "gamma", 1.1),
        ("step", "gamma", "0.1"),
        ("step", "gamma", math.nan),
        ("exponential", "rate", -1),
        ("exponential", "rate", math.inf),
        ("exponential", "per", 0),
        ("cosine", "min_ratio", -0.1),
        ("cosine", "min_ratio", 1.1),
        ("cosine", "min_ratio", None),
        ("cosine", "min_lr", -1e-3),
        ("cosine", "min_lr", "small"),
        ("warmup_cosine", "warmup", -5),
        ("cyclical", "shape", "square"),
        ("cyclical", "decay", 0.0),
        ("cyclical", "cycle", 0.0),
        ("one_cycle", "anneal", "cos"),
        ("one_cycle", "start_ratio", 25),
        ("one_cycle", "three_phase", "false"),
        ("one_cycle", "cycle_momentum", 1),
        ("one_cycle", "max_momentum", 1.0),
        ("one_cycle", "min_momentum", 0.96),
        ("sgdr", "cycle_multiplier", 0.5),
        ("sgdr", "cycle_multiplier", 1e9),
        ("inverse_time", "power", 0.5),
        ("inverse_time", "power", 1.5),
        ("polynomial", "power", 0),
        ("wsd", "decay", 1.5),
        ("wsd", "decay_shape", "square"),
    ],
)
def test_a_bad_value_is_refused_by_key_and_value_with_what_is_allowed(name, field, value):
    with pytest.raises(ConfigError) as error:
        make(name, **{field: value})
    assert f"schedule.{field}={value!r} is" in str(error.value)
    assert "allowed" in str(error.value)
    assert "\n" not in str(error.value)


def test_two_minima_are_refused():
    with pytest.raises(ConfigError, match=r"schedule\.min_ratio=0.1 and schedule\.min_lr=0.01 are two minima"):
        make("cosine", min_ratio=0.1, min_lr=0.01)


# --- the driver ---------------------------------------------------------------------------------------------------


def test_the_driver_sets_each_groups_own_learning_rate_without_compounding():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    opt = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 3}], lr=1.0, momentum=0.7)
    schedule = make("cosine")
    for step in (0, 5, 5, 3, 5):
        apply(schedule, opt, step, 10)
    assert [group["lr"] for group in opt.param_groups] == pytest.approx([0.5, 1.5])
    assert [group["initial_lr"] for group in opt.param_groups] == [1.0, 3]
    assert [group["momentum"] for group in opt.param_groups] == [0.7, 0.7]


def test_the_driver_goes_on_after_a_checkpoint_where_it_stood():
    first, second = optimizer(), optimizer(lr=0.01)
    schedule = make("step", every=2)
    apply(schedule, first, 3, 10)
    second.load_state_dict(first.state_dict())
    apply(schedule, second, 4, 10)
    apply(schedule, first, 4, 10)
    assert second.param_groups[0]["lr"] == first.param_groups[0]["lr"] == pytest.approx(LR * 0.01)


@pytest.mark.parametrize(("cls", "kind"), [(torch.optim.Adam, tuple), (AdamW, list)])
def test_the_driver_cycles_beta1_and_keeps_the_container(cls, kind):
    opt = optimizer(cls=cls)
    opt.param_groups[0]["betas"] = kind([0.9, 0.99])
    apply(make("one_cycle", warmup=4), opt, 3, 10)
    assert opt.param_groups[0]["betas"] == kind([0.85, 0.99])


def test_the_driver_cycles_the_momentum_of_sgd():
    opt = optimizer(momentum=0.9)
    apply(make("one_cycle"), opt, 0, 10)
    assert opt.param_groups[0]["momentum"] == 0.95
    apply(make("one_cycle", cycle_momentum=False, warmup=1), opt, 0, 10)
    assert opt.param_groups[0]["momentum"] == 0.95
    assert opt.param_groups[0]["lr"] == LR


def test_the_driver_refuses_to_cycle_a_momentum_that_is_not_there():
    with pytest.raises(ConfigError, match=r"OneCycle cycles momentum and the optimizer Adagrad has none; set schedule"):
        apply(make("one_cycle"), optimizer(cls=torch.optim.Adagrad), 0, 10)
    apply(make("one_cycle", cycle_momentum=False), optimizer(cls=torch.optim.Adagrad), 0, 10)


def test_schedules_are_importable_without_torch():
    modules = sorted({node["_target_"].rpartition(".")[0] for node in YAMLS.values()} | {"steepest.schedules.driver"})
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
