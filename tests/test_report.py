"""Runs read from folders, what may be compared, tables, and the numbers behind the figures."""

import json
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from written_runs import RATES, write_run, write_study

from steepest.errors import ConfigError
from steepest.report.bands import DRAWN, POINTS, bands, ends, times
from steepest.report.figures import curves
from steepest.report.frames import profile, ratios, reached, search_curves, sensitivity, steps_up, typical
from steepest.report.palette import looks
from steepest.report.runs import COLUMNS, load
from steepest.report.sections import sections
from steepest.report.tables import aggregate, differences, in_words, number, runs_table, to_markdown, with_interval

RUNS = Path("runs")


def only_section(**options):
    """The one section of all runs."""
    [part] = sections(load([RUNS]), **options)
    return part


# Reading


def test_a_run_is_read_whole():
    study = {"name": "domains", "scale": "small", "row": "vision", "contender": "adam", "phase": "search", "trial": 3}
    folder = write_run(RUNS, 1, seed=7, value=0.75, study=study)
    data = load([folder])
    assert tuple(data.runs.columns) == COLUMNS
    [run] = data.runs.to_dict("records")
    assert {name: run[{"name": "study"}.get(name, name)] for name in study} == study
    assert (run["run_id"], run["path"], run["seed"], run["status"]) == ("r00000000001", str(folder), 7, "finished")
    assert (run["metric"], run["value"], run["direction"]) == ("val/accuracy", 0.75, "max")
    assert (run["digest"], run["host"], run["opt_steps"], run["memory_mb"]) == ("d1d1d1d1d1d1", "desk", 100, 120)
    assert run["command"] == "python train.py optimizer=adam optimizer.lr=0.001 seed=7"
    assert run["config"]["optimizer.lr"] == 0.001
    assert run["config"]["choices.optimizer"] == "adam"
    assert run["metrics"]["test/accuracy"] == pytest.approx(0.74)
    assert len(data.metrics) == 10
    assert not [name for name in data.metrics if name.startswith("layers/")]
    assert data.metrics["val/accuracy"].iloc[-1] == 0.75
    assert data.notes == ()


def test_outside_of_studies_their_fields_are_none():
    write_run(RUNS, 1)
    [run] = load([RUNS]).runs.to_dict("records")
    assert all(run[name] is None for name in ("study", "scale", "row", "contender", "phase", "trial"))


def test_runs_are_named_by_folder_by_folder_of_folders_and_by_id():
    one = write_run(RUNS, 1)
    write_run(RUNS, 0xABC)
    assert set(load([RUNS]).runs.run_id) == {"r00000000001", "r00000000abc"}
    assert list(load([one, "r00000000abc"]).runs.run_id) == ["r00000000001", "r00000000abc"]
    assert list(load([one, RUNS, one]).runs.run_id) == ["r00000000001", "r00000000abc"]
    with pytest.raises(ConfigError, match="fits 2 runs"):
        load(["r000000"])


@pytest.mark.parametrize("path", ["nowhere", "r0123", "empty", "file"])
def test_what_is_no_run_is_refused(path):
    Path("empty").mkdir()
    Path("file").write_text("no run")
    with pytest.raises(ConfigError, match=f"{path} is no run; allowed are a run folder"):
        load([path])


def test_a_torn_line_is_left_out_and_said():
    folder = write_run(RUNS, 1)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write("no JSON\n[1]\n")
        file.write('{"opt_step": 11, "val/acc')
    data = load([RUNS])
    assert len(data.metrics) == 10
    assert data.notes == (f"{folder}/metrics.jsonl: 3 torn lines left out.",)


@pytest.mark.parametrize("gone", ["config.yaml", "summary.json", "metrics.jsonl", "status.json"])
def test_a_missing_file_leaves_the_rest(gone):
    folder = write_run(RUNS, 1)
    (folder / gone).unlink()
    data = load([RUNS])
    assert list(data.runs.run_id) == ["r00000000001"]
    assert (len(data.metrics) == 0) == (gone == "metrics.jsonl")


def test_files_that_cannot_be_read_are_said():
    folder = write_run(RUNS, 1)
    write_run(RUNS, 2)
    for name in ("config.yaml", "status.json", "summary.json"):
        (folder / name).write_text("{: no [")
    data = load([RUNS])
    assert list(data.runs.run_id) == ["r00000000002"]
    assert len(data.notes) == 4
    assert data.notes[-1] == f"{folder} holds nothing that can be read, and is left out."


def test_a_folder_of_only_broken_runs_is_an_error():
    (RUNS / "r1").mkdir(parents=True)
    (RUNS / "r1" / "config.yaml").write_text("[]")
    with pytest.raises(ConfigError, match="holds no run"):
        load([RUNS])


def test_a_copy_of_a_run_counts_once():
    folder = write_run(RUNS, 1)
    shutil.copytree(folder, "copies/r00000000001")
    (folder / "status.json").write_text(json.dumps({"status": "running"}))
    data = load([RUNS, "copies"])
    assert list(data.runs.path) == ["copies/r00000000001"]
    assert len(data.metrics) == 10
    assert "stands in several folders" in data.notes[0]


def test_lists_stay_whole_in_the_flat_config():
    folder = write_run(RUNS, 1)
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("  lr: 0.001", "  betas:\n  - 0.9\n  - 0.99"))
    assert load([RUNS]).runs.config[0]["optimizer.betas"] == [0.9, 0.99]


# What may be compared


def test_rows_data_sets_and_metrics_stand_apart():
    first = write_study(RUNS, row="vision", seeds=2, trials=2)
    first = write_study(RUNS, row="text", seeds=2, trials=2, first=first, metric="val/loss")
    write_run(RUNS, first)
    write_run(RUNS, first + 1, dataset="mnist")
    write_run(RUNS, first + 2, metric="val/loss", direction="min")
    found = {(part.title, part.metric): part for part in sections(load([RUNS]))}
    assert set(found) == {
        ("domains / vision / small", "val/accuracy"),
        ("domains / text / small", "val/loss"),
        ("classification on digits", "val/accuracy"),
        ("classification on mnist", "val/accuracy"),
        ("classification on digits", "val/loss"),
    }
    vision = found["domains / vision / small", "val/accuracy"]
    assert set(vision.runs.phase) == {"evaluate"}
    assert set(vision.search.phase) == {"search"}
    assert len({part.key for part in found.values()}) == 5


def test_groups_are_by_any_group_or_key():
    for number_, lr in enumerate([0.1, 0.1, 0.01]):
        write_run(RUNS, number_, lr=lr, seed=number_)
    assert set(only_section(by="optimizer.lr").runs.group) == {"0.1", "0.01"}
    assert set(only_section(by="choices.optimizer").runs.group) == {"adam"}
    assert set(only_section(by="optimizer").runs.group) == {"adam"}
    assert len(sections(load([RUNS]), by="dataset")) == 1


@pytest.mark.parametrize(
    ("option", "said"), [("by", "did you mean optimizer"), ("metric", "did you mean val/accuracy")]
)
def test_unknown_keys_and_metrics_are_refused(option, said):
    write_run(RUNS, 1)
    with pytest.raises(ConfigError, match=said):
        only_section(**{option: {"by": "optimiser", "metric": "val/acuracy"}[option]})


def test_another_metric_is_taken_from_the_summary():
    write_run(RUNS, 1, value=0.8)
    part = only_section(metric="test/accuracy")
    assert (part.metric, part.direction, part.curve) == ("test/accuracy", "max", "val/accuracy")
    assert part.runs.result[0] == pytest.approx(0.79)
    assert only_section(metric="train/loss").direction == "min"


def test_several_digests_in_a_group_are_said_and_enter_no_difference():
    for seed in range(3):
        write_run(RUNS, seed, seed=seed, digest=f"code{seed % 2}")
        write_run(RUNS, 10 + seed, seed=seed, optimizer="sgd", digest="code0")
    part = only_section()
    assert "adam has runs of 2 source digests (code0 and code1)" in part.notes[0]
    assert aggregate(part).set_index("group").digests.to_dict() == {"adam": 2, "sgd": 1}
    assert differences(part).empty


def test_each_optimizer_has_a_digest_of_its_own():
    for seed in range(3):
        write_run(RUNS, seed, seed=seed, digest="of adam")
        write_run(RUNS, 10 + seed, seed=seed, optimizer="sgd", digest="of sgd", value=0.8)
    part = only_section()
    assert part.notes == ()
    assert differences(part)["mean"].to_list() == pytest.approx([0.1])


def test_runs_of_different_models_are_said():
    write_run(RUNS, 1, choices={"model": "cnn"})
    write_run(RUNS, 2, choices={"model": "mlp"}, optimizer="sgd")
    assert only_section().notes[0].startswith("The runs differ in model, so that")
    assert only_section(by="model").notes == ()


def test_a_mean_over_several_settings_is_said():
    write_run(RUNS, 1, lr=0.1)
    write_run(RUNS, 2, lr=0.2, seed=1)
    assert only_section().notes == (
        "adam averages over runs that differ in optimizer.lr: --by optimizer.lr tells them apart.",
    )
    assert only_section(by="optimizer.lr").notes == ()


def test_a_run_without_a_result_is_shown_with_the_others():
    write_run(RUNS, 1)
    write_run(RUNS, 2, status="running", seed=1)
    write_run(RUNS, 3, status="diverged", seed=2)
    [row] = aggregate(only_section()).to_dict("records")
    assert (row["n"], row["diverged"], row["unfinished"], row["mean"]) == (1, 1, 1, 0.9)


def test_a_diverged_run_counts_as_the_worst_where_the_study_names_it():
    part = {"name": "s", "scale": "small", "row": "r", "phase": "evaluate", "trial": None}
    for seed in range(3):
        ours, theirs = {**part, "contender": "adam"}, {**part, "contender": "sgd"}
        write_run(RUNS, seed, seed=seed, value=0.8, study=ours)
        write_run(RUNS, 10 + seed, seed=seed, value=0.9, status="finished" if seed else "diverged", study=theirs)
    assert aggregate(only_section()).set_index("group")["mean"].to_dict() == pytest.approx({"sgd": 0.9, "adam": 0.8})
    part = only_section(facts={"r": {"worst": 0.0, "recommended": "adam"}})
    table = aggregate(part).set_index("group")
    assert table["mean"].to_dict() == pytest.approx({"adam": 0.8, "sgd": 0.6})
    assert (table.n["sgd"], table.diverged["sgd"]) == (3, 1)
    assert differences(part)["mean"].to_list() == pytest.approx([0.2])


def test_empty_cells_of_a_frame_built_elsewhere_may_be_nan():
    write_run(RUNS, 1)
    data = load([RUNS])
    frame = pd.DataFrame(data.runs.to_dict("records")).replace({None: math.nan})
    [part] = sections(replace(data, runs=frame))
    assert part.title == "classification on digits"
    assert list(part.runs.group) == ["adam"]


def test_no_result_at_all_is_an_error():
    write_run(RUNS, 1, status="running")
    with pytest.raises(ConfigError, match="No run has a result yet"):
        sections(load([RUNS]))


# Tables


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12))
def test_the_mean_and_interval_are_those_of_scipy(values):
    frame = pd.DataFrame({"group": "a", "counted": values, "status": "finished", "digest": None, "run_id": "r"})
    for name in ("opt_steps", "wall_s", "memory_mb"):
        frame[name] = 1.0
    part = type("Part", (), {"groups": ["a"], "runs": frame})
    [row] = aggregate(part).to_dict("records")
    assert row["mean"] == pytest.approx(np.mean(values))
    scale = 1e-9 * (1 + max(map(abs, values)))
    if stats.sem(values) > scale:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        assert row["low"] == pytest.approx(low, abs=scale, rel=1e-6)
        assert row["high"] == pytest.approx(high, abs=scale, rel=1e-6)


def test_groups_come_best_first_in_both_directions():
    for i, (name, value) in enumerate([("sgd", 0.1), ("adam", 0.3), ("lion", 0.2)]):
        write_run(RUNS, i, optimizer=name, value=value)
        write_run(Path("losses"), i, optimizer=name, value=value, metric="val/loss", direction="min")
    write_run(RUNS, 9, optimizer="muon", status="diverged")
    assert list(aggregate(only_section()).group) == ["adam", "lion", "sgd", "muon"]
    assert list(aggregate(sections(load(["losses"]))[0]).group) == ["sgd", "lion", "adam"]


def test_differences_are_paired_by_seed():
    ours, theirs = {0: 0.9, 1: 0.8, 2: 0.7, 5: 0.1}, {0: 0.85, 1: 0.77, 2: 0.66, 6: 0.99}
    for i, (name, values) in enumerate([("adam", ours), ("sgd", theirs)]):
        for seed, value in values.items():
            write_run(RUNS, 10 * i + seed, optimizer=name, seed=seed, value=value)
    part = replace(only_section(), facts={"recommended": "adam"})
    [row] = differences(part, 0.01).to_dict("records")
    pairs = np.array([0.05, 0.03, 0.04])
    assert (row["group"], row["reference"], row["n"], row["margin"]) == ("sgd", "adam", 3, 0.01)
    assert row["mean"] == pytest.approx(0.04)
    expected = stats.ttest_1samp(pairs, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))


def test_markdown_shows_text_as_it_is():
    frame = pd.DataFrame({"group": ["a|b", "<script>_x_\n`"], "n": ["1", "2"]})
    assert to_markdown(frame) == "| group | n |\n| --- | ---: |\n| a\\|b | 1 |\n| \\<script\\>\\_x\\_ \\` | 2 |\n"


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.91234, 0.9031, 0.9212), "0.9123 [0.9031, 0.9212]"),
        ((1234.5, 1200.0, 1269.0), "1,234 [1,200, 1,269]"),
        ((0.5, -math.inf, math.inf), "0.5"),
        ((0.5, 0.5, 0.5), "0.5"),
        ((math.nan, math.nan, math.nan), "-"),
    ],
)
def test_intervals_in_words(values, text):
    assert with_interval(*values) == text


def test_numbers_in_words():
    assert [number(value) for value in (None, math.nan, 0.0, 123456.0, 1e-7, 2.34567)] == [
        "-",
        "-",
        "0",
        "123,456",
        "1e-07",
        "2.346",
    ]


def test_all_runs_stand_in_one_table():
    write_study(RUNS, seeds=2, trials=3)
    part = only_section()
    frame = runs_table([part])
    assert len(frame) == 3 * (2 + 3) == frame.run_id.nunique()
    assert list(in_words(aggregate(part), part).columns[:4]) == ["group", "val/accuracy", "95 % interval", "n"]


# The numbers behind figures


def test_bands_are_mean_and_t_interval_of_straight_lines():
    values = [0.5, 0.6, 0.8, 0.55, 0.7]
    for seed, value in enumerate(values):
        write_run(RUNS, seed, seed=seed, value=value, rows=5 + seed)  # logged at different steps
    write_run(RUNS, 9, seed=9, status="diverged")
    part = only_section()
    band = bands(part, "val/accuracy", "opt_step")
    assert set(band.n) == {5}
    for row in band.itertuples():
        there = [0.1 + row.x / 100 * (value - 0.1) for value in values]
        low, high = stats.t.interval(0.95, 4, np.mean(there), stats.sem(there))
        assert (row.mean, row.low, row.high) == pytest.approx((np.mean(there), low, high), abs=2e-3)
    assert list(ends(part, "val/accuracy", "opt_step").x) == [50.0]


def test_bands_of_two_runs_and_of_one():
    write_run(RUNS, 1, value=0.5)
    write_run(RUNS, 2, value=0.7, seed=1)
    write_run(RUNS, 3, value=0.7, optimizer="sgd")
    band = bands(only_section(), "val/accuracy", "examples").groupby("group").last()
    assert (band["low"]["adam"], band["high"]["adam"], band["mean"]["adam"]) == pytest.approx((0.5, 0.7, 0.6))
    assert math.isnan(band["low"]["sgd"])
    assert bands(only_section(), "val/none", "examples").empty


def test_thousands_of_runs_are_drawn_in_few_points():
    for i in range(240):
        write_run(RUNS, i, optimizer=["adam", "sgd", "lion"][i % 3], seed=i, rows=200, value=0.5 + i / 1000)
    part = only_section()
    assert len(part.metrics) == 48_000
    band = bands(part, "val/accuracy", "opt_step")
    assert len(band) <= 3 * POINTS
    figure = curves(band, ends(part, "val/accuracy", "opt_step"), looks(part.groups), "opt_step", "val/accuracy")
    assert sum(len(trace.x) for trace in figure.data) <= 3 * 3 * POINTS  # a band has two sides


def test_only_so_many_groups_are_drawn():
    for i in range(20):
        write_run(RUNS, i, lr=0.001 * (i + 1), value=0.5 + i / 100)
    band = bands(only_section(by="optimizer.lr"), "val/accuracy", "opt_step")
    assert band.group.nunique() == DRAWN
    assert "0.02" in set(band.group)  # the best


def test_runs_that_never_reach_the_target_are_censored_and_not_dropped():
    write_run(RUNS, 1, seed=1, value=1.0, start=0.0)  # 0.5 at step 50
    write_run(RUNS, 2, seed=2, value=0.625, start=0.0)  # 0.5 at step 80
    write_run(RUNS, 3, seed=3, value=0.4, start=0.0)
    write_run(RUNS, 4, seed=4, status="diverged", value=0.6, start=0.0)
    write_run(RUNS, 5, seed=5, status="running")
    part = only_section()
    frame = times(part, 0.5, "opt_step").set_index("run_id")
    assert frame.time.to_list() == [50.0, 80.0, 100.0, 100.0]
    assert frame.reached.to_list() == [True, True, False, False]
    up = steps_up(part, 0.5, "opt_step")
    assert up.groupby("x").share.last().to_dict() == {0.0: 0.0, 50.0: 0.25, 80.0: 0.5, 100.0: 0.5}
    assert set(up.missing) == {2}
    [row] = reached(part, 0.5).to_dict("records")
    assert (row["reached"], row["n"], row["opt_step"], row["wall_s"]) == (2, 4, 80.0, 0.8)
    [row] = reached(part, 0.3).to_dict("records")
    assert (row["reached"], row["opt_step"]) == (4, 50.0)  # at 30, 50, 80, and 50 before it diverged


def test_a_target_below_for_a_loss():
    write_run(RUNS, 1, metric="val/loss", direction="min", start=2.0, value=1.0)
    assert times(only_section(), 1.5, "opt_step").time.to_list() == [50.0]


def test_sensitivity_and_typical_ranges_come_from_the_search():
    write_study(RUNS, seeds=2, trials=6)
    part = only_section()
    frame = sensitivity(part)
    assert frame.groupby("group").lr.nunique().to_dict() == {"adam": 6, "lion": 6, "sgd": 6}
    assert frame[frame.status == "diverged"][["group", "lr"]].to_numpy().tolist() == [["lion", pytest.approx(1e-2)]]
    assert frame[frame.status == "diverged"].result.isna().all()
    assert typical(part) == {"sgd": (0.01, 0.1), "adam": (1e-4, 3e-4), "lion": (1e-5, 3e-5)}


def test_best_of_k_rises_from_the_mean_to_the_best():
    write_study(RUNS, seeds=2, trials=6)
    part = only_section()
    frame = search_curves(part)
    for name in RATES:
        values = part.search.result[part.search.group == name]
        curve = frame[frame.group == name].value.to_numpy()
        assert np.all(np.diff(curve) > -1e-12)
        assert curve[-1] == pytest.approx(values.max())
        worst = part.search.result.min()
        assert curve[0] == pytest.approx(values.fillna(worst).mean())  # a diverged trial counts as the worst


def test_the_profile_needs_two_rows():
    first = write_study(RUNS, row="a", seeds=2, trials=2)
    assert profile(sections(load([RUNS]))).empty
    write_study(RUNS, row="b", seeds=2, trials=2, first=first, gap=-0.02)
    frame = profile(sections(load([RUNS])))
    best = frame[frame.tau == 0].set_index("group").share.to_dict()
    assert best == {"adam": 0.5, "lion": 0.5, "sgd": 0.0}
    assert set(frame[frame.tau == 1].share) == {1.0}


def test_the_profile_of_times_has_the_rows_with_a_target():
    first = write_study(RUNS, row="a", seeds=3, trials=2)
    write_study(RUNS, row="b", seeds=3, trials=2, first=first, gap=0.2)  # lion ends at 0.5
    targets = {"a": {"target": 0.3}, "b": {"target": 0.6}}
    assert ratios(sections(load([RUNS]), facts={"a": {"target": 0.3}})).empty
    frame = ratios(sections(load([RUNS]), facts=targets))
    ends_at = frame.groupby("group").share.last().to_dict()
    assert ends_at == {"adam": 1.0, "sgd": 1.0, "lion": 0.5}
    assert frame.tau.min() == 1.0


def test_looks_differ_in_more_than_colour():
    found = looks(map(str, range(40)))
    assert len({(look.colour, look.dash, look.symbol) for look in found.values()}) == 40
    assert looks(["a"])["a"].pale(0.5) == "rgba(0,119,187,0.5)"


def test_loading_does_not_take_long():
    for i in range(300):
        write_run(RUNS, i, seed=i, rows=50)
    started = time.process_time()
    assert len(load([RUNS]).metrics) == 15_000
    assert time.process_time() - started < 3.0
