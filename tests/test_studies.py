"""Claims: what a study.yaml may hold, and how a row is planned, looked up and judged; nothing is trained here."""

import json
import math

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.config import compose
from steepest.errors import ConfigError
from steepest.run_study import with_seeds
from steepest.studies.compose import Composer
from steepest.studies.judge import judge, obstacles, results_of
from steepest.studies.ledger import COLUMNS, Ledger
from steepest.studies.plan import Result, once, plan
from steepest.studies.space import rounded, space_of
from steepest.studies.study import SCALES, load_study, studies
from steepest.train import settled

DOMAINS = ["vision_cnn", "nlp_transformer", "llm", "llm_large_batch", "gan", "rl", "sparse_embeddings"]
SEVEN = {"sgd", "sgd_momentum", "adagrad", "rmsprop", "adam", "adamw", "lion"}

CLAIM = {
    "claim": "A is better.",
    "condition": "none",
    "recommended": "adam",
    "contenders": ["adam", "sgd", "lion"],
    "metric": "test/accuracy",
    "direction": "max",
    "select": "val/accuracy",
    "worst": 0.1,
    "margin": 0.01,
    "base": ["dataset=digits", "model=logistic", "threads=1"],
    "search": {"keys": ["lr"], "trials": 5, "reserve": 2},
    "seeds": 4,
}


def written(folder, row=None, name="claim", **beside):
    """A study of one row."""
    place = folder / "study_of_mine"
    place.mkdir(exist_ok=True)
    content = {"question": "Which?", "source": "a test", "rows": {name: {**CLAIM, **(row or {})}}, **beside}
    (place / "study.yaml").write_text(yaml.safe_dump(content))
    return str(place / "study.yaml")


def load(folder, row=None, scale="small", **beside):
    return load_study(written(folder, row, **beside), scale)


def by_words(words, values):
    """Ids without composing."""
    return json.dumps([words, values], sort_keys=True), "digest"


def told(top, sharpness=1.0, **status):
    """Results of a response to lr with its best at `top`."""

    def look(run):
        lr = json.loads(run.setting).get("optimizer.lr", top)
        value = 0.9 - sharpness * 0.05 * math.log10(lr / top) ** 2
        return Result(status.get(run.contender, "finished"), {"val/accuracy": value, "test/accuracy": value - 0.01})

    return look


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", studies())
def test_every_study_can_be_planned(name, scale):
    study = load_study(name, scale)
    for row, sides in plan(study, by_words, lambda run: None):
        assert row.claim.endswith(".")
        assert {side.contender.name for side in sides} == {one.name for one in row.contenders}
        counts = {(len(side.runs), side.later) for side in sides}
        assert len(counts) == 1, "unlike numbers of trials"


@pytest.mark.parametrize("name", studies())
def test_every_row_composes_with_each_of_its_contenders(name):
    for row in load_study(name, "smoke").rows:
        for one in row.contenders:
            compose([*row.base, *one.overrides])


def test_the_domain_table_has_its_rows_and_contenders():
    small, full = load_study("domains", "small"), load_study("domains", "full")
    assert [row.name for row in small.rows] == DOMAINS
    for row in small.rows:
        if row.name not in ("llm_large_batch", "gan"):
            assert {one.name for one in row.contenders} >= SEVEN
            assert (row.search.trials, row.search.reserve, row.seeds) >= (5, 2, 8)
    assert "lamb" in {one.name for one in small.rows[2].contenders}
    assert {"adam_0_099", "adam_05_0999", "adam_09_0999"} <= {one.name for one in small.rows[4].contenders}
    assert {"nadam", "lamb", "muon", "soap", "shampoo"} <= {one.name for one in full.rows[0].contenders}
    assert all(row.seeds >= 10 for row in full.rows)
    assert small.rows[3].unreachable
    assert not full.rows[3].unreachable


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"recommended": "adm"}, "recommended=adm is no contender"),
        ({"contenders": ["adam", "adam"]}, "unlike names"),
        ({"contenders": ["adam"]}, "contenders"),
        ({"base": ["experiment=vision_cnn"]}, "tuned elsewhere"),
        ({"base": ["tuned=true"]}, "tuned elsewhere"),
        ({"base": ["+recommended=x"]}, "tuned elsewhere"),
        ({"contenders": ["adam", {"name": "b", "optimizer": "sgd", "overrides": ["seed=1"]}]}, "the study's"),
        ({"search": {"choices": {"tuned": [True, False]}}}, "tuned elsewhere"),
        ({"margine": 0.1}, "margine is unknown"),
        ({"margin": -1.0}, "margin=-1.0"),
        ({"direction": "up"}, "direction=up"),
        ({"worst": None}, "worst"),
        ({"seeds": 1}, "seeds=1"),
        ({"search": {"trials": 0}}, "trials=0"),
        ({"base": "dataset=digits"}, "base=dataset=digits"),
        ({"scales": {"tiny": {}}}, "scales.tiny is unknown"),
        ({"typical": [0.1, 0.01]}, "typical"),
    ],
)
def test_a_row_that_is_wrong_is_refused_in_a_sentence(tmp_path, row, said):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, row)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"search": {"keys": ["lr", "weight_decay"]}}, "allowed is one range"),
        ({"search": {"keys": ["lrr"]}}, "lrr"),
        ({"contenders": ["adam", {"optimizer": "sgd", "ranges": {"beta": [0.1, 0.2]}}]}, "beta"),
        ({"contenders": ["adam", {"name": "no_space", "overrides": ["optimizer=torch"]}]}, "space"),
        ({"contenders": ["adam", {"name": "x", "overrides": ["batch.size=2"]}]}, "no optimizer"),
    ],
)
def test_a_space_that_is_not_there_is_refused(tmp_path, row, said):
    with pytest.raises(ConfigError) as refused:
        plan(load(tmp_path, row), by_words, lambda run: None)
    assert said in str(refused.value)


def test_unknown_names_come_with_the_nearest(tmp_path):
    file = written(tmp_path)
    for asked, said in (
        (("domain", "small"), "did you mean domains"),
        (("domains", "tiny"), "allowed are smoke, small and full"),
        (("domains", "small", ["vision"]), "did you mean vision_cnn"),
        ((file.replace("study.yaml", "other.yaml"), "small"), "is unknown"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_study(*asked)
    for text in ("rows: [", "rows: {}", "3"):
        (tmp_path / "study_of_mine" / "study.yaml").write_text(text)
        with pytest.raises(ConfigError):
            load_study(file, "small")


def test_nearer_values_win_and_bases_add_up(tmp_path):
    common = {"seeds": 6, "margin": 0.5, "base": ["log.every=5"], "scales": {"small": {"seeds": 7, "margin": 0.6}}}
    [row] = load(
        tmp_path, {"scales": {"small": {"base": ["budget.steps=3"], "search": {"trials": 9}}}}, common=common
    ).rows
    assert (row.seeds, row.margin) == (4, 0.01)  # the row's own, over the common ones of the scale
    assert row.base == ("log.every=5", *CLAIM["base"], "budget.steps=3")
    assert (row.search.trials, row.search.reserve) == (9, 2)


def test_all_contenders_get_as_many_trials_at_the_same_points(tmp_path):
    study = load(tmp_path)
    [(row, sides)] = plan(study, by_words, lambda run: None)
    for side in sides:
        space = space_of(row, side.contender)
        [dimension] = space.dimensions
        shares = [dimension.share(json.loads(run.setting)["optimizer.lr"]) for run in side.runs]
        assert shares == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=2e-3)  # settings have three digits
        assert side.later == 2 + 4
        assert {run.seed for run in side.runs} == {0}
        assert all("test=none" in run.overrides for run in side.runs)


def test_the_best_of_validation_is_evaluated_with_fresh_seeds_the_same_for_all(tmp_path):
    [(row, sides)] = plan(load(tmp_path), by_words, told(top=1e-3))
    for side in sides:
        tried = [run for run in side.runs if run.phase != "evaluate"]
        evaluated = [run for run in side.runs if run.phase == "evaluate"]
        assert (len(tried), len(evaluated)) == (7, 4)
        assert [run.seed for run in evaluated] == [*row.evaluation_seeds]
        assert not {run.seed for run in evaluated} & {run.seed for run in tried}
        assert all("test=last" in run.overrides for run in evaluated)
        nearest = min(tried, key=lambda run: abs(math.log(json.loads(run.setting)["optimizer.lr"] / 1e-3)))
        assert {run.setting for run in evaluated} == {nearest.setting}


def test_the_reserve_widens_at_an_edge_and_refines_elsewhere(tmp_path):
    [(_, sides)] = plan(load(tmp_path), by_words, told(top=1e-3))
    for side in sides:
        low, high = {"adam": (1e-5, 1e-2), "sgd": (1e-3, 1.0), "lion": (1e-6, 1e-3)}[side.contender.name]
        reserve = [json.loads(run.setting)["optimizer.lr"] for run in side.runs if run.phase == "reserve"]
        inside = [low <= lr <= high for lr in reserve]
        assert all(inside) if side.contender.name == "adam" else not all(inside)
    [(_, sides)] = plan(load(tmp_path), by_words, told(top=1e4))
    assert [side.edges for side in sides] == [{"lr": "high"}] * 3


def test_a_range_that_defines_a_contender_never_widens(tmp_path):
    row = {
        "contenders": [{"name": "a", "optimizer": "adam", "ranges": {"lr": [1e-4, 3e-4]}}, "sgd"],
        "recommended": "a",
    }
    [(_, sides)] = plan(load(tmp_path, row), by_words, told(top=1e4))
    tried = [json.loads(run.setting)["optimizer.lr"] for run in sides[0].runs]
    assert min(tried) == 1e-4
    assert max(tried) == 3e-4
    assert sides[0].edges == {}
    assert sides[1].edges == {"lr": "high"}


def test_what_diverges_or_fails_is_never_chosen(tmp_path):
    def look(run):
        lr = json.loads(run.setting)["optimizer.lr"]
        return told(top=1e-2)(run) if lr < 2e-3 else Result("diverged" if lr < 1e-2 else "failed")

    [(_, sides)] = plan(load(tmp_path, {"contenders": ["adam", "sgd"]}), by_words, look)
    for side in sides:
        assert json.loads(side.runs[-1].setting)["optimizer.lr"] < 2e-3


def test_nothing_is_searched_without_keys(tmp_path):
    [(_, sides)] = plan(load(tmp_path, {"search": {"keys": []}}), by_words, lambda run: None)
    assert all([run.phase for run in side.runs] == ["evaluate"] * 4 for side in sides)
    assert {run.setting for side in sides for run in side.runs} == {"{}"}


def test_repeats_of_the_search_have_seeds_and_points_of_their_own(tmp_path):
    row = {"search": {"keys": "all", "sampler": "sobol", "trials": 4, "repeats": 2, "seeds": 2}}
    [(_, sides)] = plan(load(tmp_path, row), by_words, lambda run: None)
    first, second = (next(s for s in sides if s.repeat == k and s.contender.name == "adam") for k in (0, 1))
    assert {run.seed for run in first.runs} == {0, 1}
    assert {run.seed for run in second.runs} == {2, 3}
    assert not {run.setting for run in first.runs} & {run.setting for run in second.runs}


def test_rows_share_runs(tmp_path):
    file = written(tmp_path)
    content = yaml.safe_load((tmp_path / "study_of_mine" / "study.yaml").read_text())
    content["rows"]["other"] = {**CLAIM, "recommended": "sgd"}
    (tmp_path / "study_of_mine" / "study.yaml").write_text(yaml.safe_dump(content))
    planned = plan(load_study(file, "small"), by_words, lambda run: None)
    assert [(len(runs), later) for _, runs, later in once(planned)] == [(15, 18), (0, 0)]


@settings(max_examples=25, deadline=None)
@given(order=st.randoms(use_true_random=False), share=st.floats(0.05, 1.0))
def test_a_plan_ends_in_whatever_order_results_arrive_and_plans_no_run_twice(tmp_path_factory, order, share):
    study = load(tmp_path_factory.mktemp("study"))
    truth, known, launched = told(top=2e-3), {}, set()
    for _ in range(200):
        [(_, sides)] = plan(study, by_words, lambda run: known.get(run.run_id))
        runs = {run.run_id: run for side in sides for run in side.runs}
        assert launched <= {*runs}  # what was asked for once is part of every later plan
        lacking = [run for run in runs.values() if run.run_id not in known]
        if not lacking:
            break
        for run in order.sample(lacking, max(1, int(share * len(lacking)))):
            assert run.run_id not in launched
            launched.add(run.run_id)
            known[run.run_id] = truth(run)
    assert len(known) == 3 * (5 + 2 + 4)
    assert all(side.later == 0 for side in sides)


def run_folder(folder, run, status="finished", digest=None, **metrics):
    """A run folder as far as the ledger reads it."""
    place = folder / run.run_id
    place.mkdir(parents=True)
    record = {"status": status, "source_digest": digest or run.digest, "command": "python train.py", "reason": "why"}
    (place / "status.json").write_text(json.dumps(record))
    if status != "failed":
        summary = {"metrics": metrics, "opt_steps": 3, "examples": 9, "grad_evals": 3, "wall_s": 0.5}
        (place / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def first(tmp_path):
    """A planned run whose id is a good name of a folder."""
    ids = {}

    def identify(words, values):
        return ids.setdefault(json.dumps([words, values]), f"r{len(ids)}"), "digest"

    [(row, sides)] = plan(load(tmp_path), identify, lambda run: None)
    return row, sides[0].runs[0]


def test_the_ledger_takes_results_of_the_same_source_alone(tmp_path, first):
    _, run = first
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    assert ledger.look(run) is None
    run_folder(tmp_path / "runs", run, digest="another", **{"val/accuracy": 0.5})
    assert ledger.look(run) is None
    assert ledger.stale == {run.run_id}
    (tmp_path / "runs" / run.run_id / "status.json").write_text(
        json.dumps({"status": "finished", "source_digest": run.digest, "command": "c"})
    )
    assert ledger.look(run).metrics == {"val/accuracy": 0.5}


def test_a_run_that_measured_less_does_not_count(tmp_path, first):
    _, run = first
    run_folder(tmp_path / "runs", run, **{"val/loss": 0.5})
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    assert ledger.look(run) is None
    assert ledger.stale == {run.run_id}


def test_failed_runs_are_told_and_tried_again_on_demand(tmp_path, first):
    _, run = first
    run_folder(tmp_path / "runs", run, status="failed")
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    assert ledger.look(run).status == "failed"
    assert ledger.lost == {run.run_id: "why"}
    assert Ledger(tmp_path / "runs", tmp_path / "none.csv", retry_failed=True).look(run) is None


def test_a_run_that_leaves_nothing_is_given_up(tmp_path, first):
    _, run = first
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    ledger.give_up([run], "killed by SIGKILL")
    assert ledger.look(run).status == "failed"
    assert ledger.lost == {run.run_id: "killed by SIGKILL"}


def test_committed_results_of_the_same_digest_are_done(tmp_path):
    study = load(tmp_path)
    truth = told(top=1e-3)
    planned = plan(study, by_words, truth)
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    ledger.look = truth
    frame = results_of(planned, ledger)
    assert list(frame.columns) == [*COLUMNS]
    assert len(frame) == 33
    frame.to_csv(tmp_path / "results.csv", index=False)
    again = Ledger(tmp_path / "nowhere", tmp_path / "results.csv")
    replanned = plan(study, by_words, again.look)
    assert all(again.look(run) is not None for _, sides in replanned for side in sides for run in side.runs)
    pd.testing.assert_frame_equal(results_of(replanned, again), frame, check_dtype=False)
    frame.assign(digest="another").to_csv(tmp_path / "results.csv", index=False)
    other = Ledger(tmp_path / "nowhere", tmp_path / "results.csv")
    assert all(other.look(run) is None for _, sides in planned for side in sides for run in side.runs)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\x00\x01"])
def test_a_file_of_results_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "results.csv").write_text(text)
    with pytest.raises(ConfigError, match=r"results\.csv"):
        Ledger(tmp_path, tmp_path / "results.csv")


def test_a_composer_knows_the_id_that_a_run_will_have(tmp_path):
    words, values = (
        ("model=logistic", "threads=1", "schedule=step"),
        {"optimizer.lr": 0.0316, "seed": 3, "test": "none"},
    )
    aside = [f"paths.runs_dir={tmp_path}", "logger=none"]
    found, digest = Composer(aside).identify(words, values)
    told_on_the_command_line = [*words, *(f"{key}={value}" for key, value in values.items()), "study=null"]
    _, expected = settled(compose([*told_on_the_command_line, f"paths.runs_dir={tmp_path / 'elsewhere'}"]))
    assert found == expected
    assert len(digest) == 12
    assert Composer(aside).identify(words, {**values, "seed": 4})[0] != found


def verdict_on(folder, truth, row=None, scale="small"):
    study = load(folder, row, scale)
    planned = plan(study, by_words, truth)
    ledger = Ledger(folder / "runs", folder / "none.csv")
    ledger.look = truth
    [(one, sides)] = planned
    return judge(one, sides, results_of(planned, ledger), ledger, scale)


def leading(name, by, noise=0.001, **status):
    """One contender is ahead by so much, with an optimum in the middle of each space."""
    middle = {"adam": 10**-3.5, "sgd": 10**-1.5, "lion": 10**-4.5}

    def look(run):
        lr = json.loads(run.setting)["optimizer.lr"]
        value = 0.8 - 0.01 * math.log10(lr / middle[run.contender]) ** 2 + (by if run.contender == name else 0.0)
        value += noise * math.sin(37 * run.seed + sum(map(ord, run.contender)))
        return Result(status.get(run.phase, "finished"), {"val/accuracy": value, "test/accuracy": value})

    return look


def test_the_four_verdicts(tmp_path):
    assert verdict_on(tmp_path, leading("adam", 0.05))["verdict"] == "confirmed"
    assert verdict_on(tmp_path, leading("sgd", 0.05))["verdict"] == "refuted"
    assert verdict_on(tmp_path, leading("none", 0.0))["verdict"] == "on par"
    found = verdict_on(tmp_path, leading("none", 0.0, noise=0.03))
    assert found["verdict"] == "inconclusive"
    assert found["best_rival"] in ("sgd", "lion")
    assert found["n"] == 4


def test_what_stands_in_the_way_of_a_verdict(tmp_path):
    smoke = verdict_on(tmp_path, leading("adam", 0.05), scale="smoke")
    assert smoke["verdict"] == "inconclusive"
    assert "machinery" in smoke["reason"]
    unreachable = verdict_on(tmp_path, leading("adam", 0.05), {"unreachable": "no cluster"})
    assert unreachable["verdict"] == "inconclusive"
    assert "no cluster" in unreachable["reason"]
    failed = verdict_on(tmp_path, leading("adam", 0.05, evaluate="failed"))
    assert failed["verdict"] == "inconclusive"
    assert "failed" in failed["reason"]
    edge = verdict_on(tmp_path, told(top=1e4))
    assert edge["verdict"] == "inconclusive"
    assert "edge" in edge["reason"]


def test_missing_runs_are_counted(tmp_path):
    [(row, sides)] = plan(load(tmp_path), by_words, lambda run: None)
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    [said] = obstacles(row, sides, ledger, "small")
    assert said == "runs are missing (11 of adam, 11 of sgd, 11 of lion)"


def test_repeats_that_disagree_decide_nothing(tmp_path):
    row = {"search": {"keys": ["lr"], "trials": 5, "reserve": 2, "repeats": 2}}
    study = load(tmp_path, row)
    one, other = leading("adam", 0.05), leading("sgd", 0.05)

    def look(run):  # the second search's evaluations are told apart by their repeat
        return (one if run.search == 0 else other)(run)

    planned = plan(study, by_words, look)
    ledger = Ledger(tmp_path / "runs", tmp_path / "none.csv")
    ledger.look = look
    [(claim, sides)] = planned
    found = judge(claim, sides, results_of(planned, ledger), ledger, "small")
    assert found["verdict"] == "inconclusive"
    assert "confirmed, refuted" in found["reason"]


def test_divergence_counts_as_the_worst_value(tmp_path):
    found = verdict_on(tmp_path, leading("adam", 0.05, evaluate="diverged"))
    assert found["value"] == pytest.approx(CLAIM["worst"])
    assert found["n"] == 4


@pytest.mark.parametrize(("value", "shown"), [(0.0316227, 0.0316), (0.99912345, 0.999123), (3, 3), ("a", "a")])
def test_settings_have_three_digits(value, shown):
    assert rounded(value) == shown
    assert rounded([value]) == [shown]


def test_other_numbers_of_seeds(tmp_path):
    study = load(tmp_path)
    assert with_seeds(study, 9).rows[0].seeds == 9
    assert len(with_seeds(study, 9).rows[0].evaluation_seeds) == 9
    with pytest.raises(ConfigError, match="seeds=1"):
        with_seeds(study, 1)
