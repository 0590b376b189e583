"""The spaces that optimizers are tuned in: each file, the points of a space, its borders, and broken files."""

import math
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy.stats import qmc

from steepest.build import build
from steepest.cli import main
from steepest.completion import groups
from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.search import Dimension, SearchSpace, on_edge, restricted, sample, search_space
from steepest.targets import target
from steepest.typical import KINDS, TYPICAL

CONF = conf_dir()
OF_LIBRARIES = {"torch", "library"}
NAMES = sorted({file.stem for file in (CONF / "optimizer").glob("*.yaml")} - OF_LIBRARIES)
FILES = sorted(file.stem for file in (CONF / "search").glob("*.yaml"))
SPACES = {name: search_space(name) for name in NAMES}
FIXED_LR = {"prodigy"}


def flat(setting):
    """{"betas": [0.9, 0.99]} as {"betas[0]": 0.9, "betas[1]": 0.99}."""
    lists = {key: value for key, value in setting.items() if isinstance(value, list)}
    entries = {f"{key}[{i}]": one for key, value in lists.items() for i, one in enumerate(value)}
    return {key: value for key, value in setting.items() if key not in lists} | entries


def test_every_file_is_of_an_optimizer():
    assert set(FILES) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_learning_rate_has_two_to_three_decades_around_the_default(name):
    [lr] = [dimension for dimension in SPACES[name].dimensions if dimension.key == "lr"]
    if name in FIXED_LR:
        assert lr.choices == (1.0,)
        [lr] = [dimension for dimension in SPACES[name].dimensions if dimension.key == "d_coefficient"]
    assert lr.scale == "log"
    assert math.log10(lr.high / lr.low) >= 2.0 - 1e-9
    assert math.log10(lr.high / lr.low) <= 3.0 + 1e-9
    default = SPACES[name].defaults[lr.key]
    assert lr.low < default < lr.high
    assert lr.key not in on_edge(SPACES[name], SPACES[name].defaults)


@pytest.mark.parametrize("name", NAMES)
def test_every_point_is_a_setting_that_the_optimizer_takes(name):
    space = SPACES[name]
    node = OmegaConf.load(CONF / "optimizer" / f"{name}.yaml")
    for point in qmc.Sobol(len(space.dimensions), seed=0).random(16):
        setting = sample(space, point)
        assert set(setting) <= set(space.defaults)
        for key, value in setting.items():
            assert type(value) is type(space.defaults[key]), key
        build(node, **setting)  # the keys
        for dimension in space.dimensions:
            value = flat(setting)[dimension.key]
            assert value in dimension.choices if dimension.choices else dimension.low <= value <= dimension.high


@pytest.mark.parametrize("name", NAMES)
def test_typical_ranges_are_those_of_the_specification(name):
    kind = KINDS.get(target(OmegaConf.load(CONF / "optimizer" / f"{name}.yaml")).__name__)
    rows = {row.key: row for row in TYPICAL if row.kind == kind}
    for dimension in SPACES[name].dimensions:
        assert dimension.source
        row = rows.get(f"optimizer.{dimension.key}")
        if row is not None:
            assert dimension.typical == (row.low, row.high)


def test_a_variant_without_a_file_has_the_space_of_its_family():
    assert SPACES["amsgrad"].file == "adam"
    assert SPACES["amsgrad"].dimensions == SPACES["adam"].dimensions
    assert SPACES["heavy_ball"].file == "sgd_momentum"
    assert SPACES["adamw"].file == "adamw"


def test_optimizers_of_libraries_have_none():
    for name in OF_LIBRARIES:
        with pytest.raises(
            ConfigError, match=f"^optimizer={name} has no search space; allowed is a file search/{name}"
        ):
            search_space(name)


def test_an_unknown_optimizer_is_named():
    with pytest.raises(ConfigError, match=r"^optimizer=adamm is unknown; did you mean adam"):
        search_space("adamm")


def space_of(*dimensions, **defaults):
    return SearchSpace("x", "x", dimensions, defaults)


LR = Dimension("lr", "here", low=1e-4, high=1e-1, scale="log")
B1 = Dimension("betas[1]", "here", low=0.9, high=0.999, scale="log_one_minus")
MODE = Dimension("mode", "here", choices=("a", "b", None))
LINEAR = Dimension("p", "here", low=-1.0, high=3.0)
SPACE = space_of(LR, B1, MODE, LINEAR, lr=1.0, betas=[0.5, 0.6], mode="a", p=0.0)


def test_points_map_to_values_on_their_scales():
    first = sample(SPACE, [0, 0, 0, 0])
    assert (first["lr"], first["betas"]) == (pytest.approx(1e-4), [0.5, pytest.approx(0.9)])
    assert (first["mode"], first["p"]) == ("a", -1.0)
    middle = sample(SPACE, [1 / 3, 0.5, 0.5, 0.5])
    assert middle["lr"] == pytest.approx(1e-3)
    assert middle["betas"] == [0.5, pytest.approx(0.99)]
    assert (middle["mode"], middle["p"]) == ("b", 1.0)
    last = sample(SPACE, [math.nextafter(1, 0)] * 4)
    assert last["mode"] is None
    assert (last["lr"], last["betas"][1]) == (pytest.approx(1e-1), pytest.approx(0.999))
    assert SPACE.defaults["betas"] == [0.5, 0.6]


NAN = math.nan


@pytest.mark.parametrize(
    "point",
    [[0.5] * 3, [0.5] * 5, [0.5, 0.5, 1.0, 0.5], [0.5, 0.5, -0.1, 0.5], [NAN, 0.5, 0.5, 0.5], [math.inf, 0.5, 0.5, 0]],
)
def test_what_is_no_point_is_refused(point):
    with pytest.raises(ValueError, match="is no point of the space of lr, betas"):
        sample(SPACE, point)


@pytest.mark.parametrize("u", [-0.01, 1.01])
def test_a_range_that_must_not_widen_has_no_point_beyond(u):
    fixed = space_of(replace(LR, widen=False), lr=1.0)
    assert sample(fixed, [1.0]) == {"lr": pytest.approx(0.1)}
    with pytest.raises(ValueError, match="is no point of the space of lr"):
        sample(fixed, [u])


def test_beyond_its_range_a_value_goes_on_along_its_scale():
    below = sample(SPACE, [-1 / 3, -0.25, 0.5, -0.25])
    assert below["lr"] == pytest.approx(1e-5)
    assert below["betas"][1] == pytest.approx(1 - 10**-0.5)
    assert below["p"] == -2.0
    above = sample(SPACE, [4 / 3, 1.5, 0.5, 1.25])
    assert (above["lr"], above["p"]) == (pytest.approx(1.0), 4.0)
    assert above["betas"][1] == pytest.approx(0.9999)


def test_what_may_not_be_negative_stops_at_0():
    dropout = Dimension("p", "here", low=0.0, high=0.5)
    momentum = Dimension("m", "here", low=0.5, high=0.99, scale="log_one_minus")
    space = space_of(dropout, momentum, p=0.1, m=0.9)
    assert sample(space, [-0.25, -3.0]) == {"p": 0.0, "m": 0.0}
    assert (dropout.floor, LR.floor, LINEAR.floor) == (0.0, -math.inf, -math.inf)
    assert momentum.value(momentum.floor) == pytest.approx(0.0, abs=1e-12)
    assert replace(LINEAR, widen=False).floor == 0.0


@settings(deadline=None)
@given(u=st.floats(allow_nan=False, allow_infinity=False))
def test_however_far_the_share_the_value_is_allowed(u):
    assert 0.0 < LR.value(u) < math.inf
    assert 0.0 <= B1.value(u) < 1.0
    assert math.isfinite(LINEAR.value(u))
    assert Dimension("x", "here", low=-1.0, high=0.9, scale="log_one_minus").value(u) < 1.0


@settings(deadline=None)
@given(u=st.floats(-3, 4), v=st.floats(-3, 4))
def test_a_greater_share_is_no_smaller_value(u, v):
    for dimension in (LR, B1, LINEAR):
        low, high = dimension.value(min(u, v)), dimension.value(max(u, v))
        assert low <= high * (1 + 1e-12 * math.copysign(1, high))


def test_a_space_of_some_keys_alone_keeps_the_rest_at_their_defaults():
    some = restricted(SPACE, ["p", "lr"])
    assert [dimension.key for dimension in some.dimensions] == ["p", "lr"]
    assert sample(some, [0.25, 0.0]) == {"p": 0.0, "lr": pytest.approx(1e-4)}
    assert restricted(SPACE, []).dimensions == ()
    assert sample(restricted(SPACE, []), []) == {}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["lrr"], "keys=[lrr]: lrr is unknown; did you mean lr? the search space of adamw has lr, betas[0],"),
        (["lr", "betas"], "keys=[lr, betas]: betas is unknown; did you mean betas[1] or betas[0]? the search space"),
        (["lr", "lr"], "keys=[lr, lr]: lr is there twice; the search space of adamw has lr,"),
        ([3], "keys=[3]: 3 is unknown; the search space of adamw has lr,"),
    ],
)
def test_keys_that_a_space_does_not_have_are_one_sentence(keys, said):
    with pytest.raises(ConfigError) as caught:
        restricted(SPACES["adamw"], keys)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


@settings(deadline=None)
@given(point=st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4))
def test_a_value_lies_where_its_point_did(point):
    setting = sample(SPACE, point)
    for dimension, u in ((LR, point[0]), (B1, point[1]), (LINEAR, point[3])):
        value = flat(setting)[dimension.key]
        assert dimension.low <= value <= dimension.high
        assert dimension.share(value) == pytest.approx(u, abs=1e-9)


def test_borders_are_named_and_choices_have_none():
    inside = {"lr": 1e-3, "betas": [0.0, 0.99], "mode": "a", "p": 0.0}
    assert on_edge(SPACE, inside) == []
    assert on_edge(SPACE, {**inside, "lr": 1e-4}) == ["lr"]
    assert on_edge(SPACE, {**inside, "lr": 0.09, "p": 2.9}) == ["lr", "p"]
    assert on_edge(SPACE, {**inside, "lr": 0.09, "p": 2.9}, margin=0.01) == []
    assert on_edge(SPACE, {**inside, "betas": [0.0, 0.999]}) == ["betas[1]"]
    assert on_edge(SPACE, {**inside, "p": 4.0}) == ["p"]  # of a space that was wider
    assert on_edge(SPACE, {"lr": 0.0, "betas": [0.0, 1.0], "mode": "a", "p": 0.0}) == ["lr", "betas[1]"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "search/adam.yaml holds nothing"),
        (
            "lrr: {choices: [1], source: x}",
            "search/adam.yaml: lrr is unknown; did you mean lr? the optimizer has lr, be",
        ),
        ("betas[2]: {choices: [1], source: x}", "betas[2] is unknown; did you mean betas?"),
        ("betas[x]: {choices: [1], source: x}", "betas[x] is unknown"),
        ("eps[0]: {choices: [1], source: x}", "eps[0] is unknown"),
        ("lr: 3", "lr=3 is not possible; allowed are low, high and scale, or choices, with source"),
        ("lr: {low: 1, high: 2, source: x}", "lr={low: 1, high: 2, source: x} is not possible"),
        ("lr: {low: 1, high: 2, scale: log}", "is not possible; allowed are low, high and scale"),
        ("lr: {low: 1, high: 2, scale: log, source: x, log: true}", "is not possible; allowed are low, high and scale"),
        ("lr: {low: 1, high: 2, scale: log, source: x, choices: [1]}", "is not possible; allowed are low, high"),
        ("lr: {low: 1, high: 2, scale: log, source: ''}", "lr.source='' is not possible; allowed is text."),
        ("lr: {low: 1, high: 2, scale: lin, source: x}", "lr.scale=lin is not possible; allowed is one of linear, log"),
        ("lr: {low: 2, high: 1, scale: log, source: x}", "lr.high=1 is not possible; allowed is a number above low=2."),
        ("lr: {low: 1, high: 1, scale: log, source: x}", "lr.high=1 is not possible; allowed is a number above low=1."),
        ("lr: {low: 0, high: 1, scale: log, source: x}", "lr.low=0 is not possible; allowed is a number above 0."),
        ("lr: {low: a, high: 1, scale: linear, source: x}", "lr.low=a is not possible; allowed is a number."),
        ("lr: {low: 0, high: 1, scale: log_one_minus, source: x}", "a number above low=0 and below 1."),
        ("lr: {choices: [], source: x}", "lr.choices=[] is not possible; allowed is a list of different values."),
        ("lr: {choices: [1, 1.0], source: x}", "lr.choices=[1, 1.0] is not possible"),
        ("lr: {choices: 3, source: x}", "lr.choices=3 is not possible"),
        (
            "lr: {low: 1, high: 9, scale: log, source: x, typical: 3}",
            "lr.typical=3 is not possible; allowed is a list of 2",
        ),
        (
            "lr: {low: 1, high: 9, scale: log, source: x, typical: [0, 3]}",
            "lr.typical=[0, 3] is not possible; allowed is a",
        ),
        ("lr: {low: 1, high: 9, scale: log, source: x, typical: [5, 3]}", "a list of 2 numbers from 1 to 9."),
        ("lr: {choices: [1, 2], source: x, typical: [1, 3]}", "lr.typical=[1, 3] is not possible"),
        (
            "lr: {low: 1, high: 9, scale: log, source: x, widen: 1}",
            "lr.widen=1 is not possible; allowed is true or false",
        ),
        (
            "lr: {choices: [1, 2], source: x, widen: true}",
            "lr.widen=true is not possible; allowed is true or false, and",
        ),
        ("lr: {choices: [a, b], source: x, typical: [1, 3]}", "lr.typical=[1, 3] is not possible"),
    ],
)
def test_a_broken_file_is_one_sentence(content, said, tmp_path):
    for folder in ("optimizer", "search"):
        (tmp_path / folder).mkdir()
    (tmp_path / "optimizer/adam.yaml").write_text((CONF / "optimizer/adam.yaml").read_text())
    (tmp_path / "search/adam.yaml").write_text(content)
    with pytest.raises(ConfigError) as caught:
        search_space("adam", tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_family_space_leaves_out_what_the_variant_does_not_have(tmp_path):
    for folder in ("optimizer", "search"):
        (tmp_path / folder).mkdir()
    (tmp_path / "optimizer/amsgrad.yaml").write_text("_target_: steepest.optimizers.amsgrad.AMSGrad\nlr: 0.1\n")
    (tmp_path / "search/adam.yaml").write_text((CONF / "search/adam.yaml").read_text())
    assert [dimension.key for dimension in search_space("amsgrad", tmp_path).dimensions] == ["lr"]


@pytest.mark.parametrize("word", ["search=adam", "search=3", "search.lr=1", "+search=adam", "~search"])
def test_a_run_takes_no_space(word, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert main(["train", word]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"steepest: {word} is not possible, since a run has no search; allowed are values."


def test_help_and_completion_do_not_offer_spaces(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(SystemExit) as end:
        main(["train", "--help"])
    assert end.value.code == 0
    shown = capsys.readouterr().out.splitlines()
    assert any(line.startswith("optimizer: adabelief") for line in shown)
    assert not any(line.startswith("search") for line in shown)
    assert "search" not in groups(CONF)
