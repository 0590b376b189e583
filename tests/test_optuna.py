"""Searches: what is tuned, what a trial is worth, and that none of it is lost or done twice."""

import csv
import json
import math
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from isolated_jobs import wait_for
from omegaconf import OmegaConf
from optuna.trial import TrialState

from steepest.cli import main
from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.launchers.processes import JobFailed
from steepest.runs.files import write_json
from steepest.runs.lock import lock
from steepest.sweeps.identify import PlannedJob
from steepest.sweeps.ledger import Ledger
from steepest.sweeps.tuning import Options, round_of
from steepest.sweeps.tuning_rounds import Rounds
from steepest.sweeps.tuning_space import Axis, read_space
from steepest.sweeps.tuning_study import Trials, open_storage, suggested, turned

TRAIN = conf_dir().parent / "train.py"
QUICK = ["experiment=objective", "dataset=quadratic", "dataset.noise=0.1", "dataset.dimension=3"]
QUICK += ["callbacks=none", "logger=none", "threads=1", "budget.steps=4"]
SAMPLERS = ("tpe", "random", "sobol")


def space_of(*words, chosen="adamw"):
    return read_space(OverridesParser.create().parse_overrides([*words]), lambda fixed: chosen)


@pytest.fixture
def trials_of():
    """Makes the trials of a space, in a database of this name; again, with what is in it."""
    databases = {}

    def made(space, sampler="tpe", direction="min", seed=0, database="one"):
        if database not in databases:
            in_memory = optuna.storages.InMemoryStorage
            databases[database] = open_storage("sqlite:///:memory:", None)[0] if database == "sqlite" else in_memory()
        return Trials(databases[database], "s", space, space.record, direction, sampler, seed)

    return made


def read(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def settings(words):
    """The numbers and texts that overrides set."""
    return {key: read(text) for key, _, text in (word.partition("=") for word in words)}


def searched(trials, total, rate, size=2):
    """Run a search on a function of the settings; returns these in order."""
    found = []
    while asked := [*trials.ask(size, total, set())]:
        for one in asked:
            found.append(settings(one.overrides))
            trials.tell(one.number, [rate(found[-1])])
    return found


def ranges(optimizer):
    """What conf/search says, by the keys of the command line."""
    entries = OmegaConf.to_container(OmegaConf.load(conf_dir() / "search" / f"{optimizer}.yaml"))
    return {f"optimizer.{key.replace('[', '.').rstrip(']')}": entry for key, entry in entries.items()}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_trial_has_the_hyperparameters_of_its_optimizer_and_no_others(sampler, trials_of):
    names = ("adamw", "sgd_momentum")
    space = space_of(f"optimizer={','.join(names)}", "batch.size=32,64", "model=logistic")
    trials = trials_of(space, sampler)
    found = searched(trials, 24, lambda setting: setting["optimizer.lr"])
    assert {setting["optimizer"] for setting in found} == {*names}
    assert {setting["batch.size"] for setting in found} == {32, 64}
    for setting in found:
        expected = ranges(setting["optimizer"])
        fixed = {"model": "logistic", "test": "none", "optimizer": setting["optimizer"]}
        assert {key: setting[key] for key in fixed} == fixed
        assert {*setting} == {*fixed, "batch.size", *expected}
        for key, entry in expected.items():
            value = float(setting[key])
            assert value in entry["choices"] if "choices" in entry else entry["low"] <= value <= entry["high"]
    for trial in trials.all:  # the storage has the same, and conditional as well
        optimizer, values = trials.values(trial)
        assert len(trial.params) == 2 + len(ranges(optimizer)) == 1 + len(values)


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("batch.size=32,64,128", "32, 64, 128"),
        ("batch.size=choice(32,64)", "32, 64"),
        ("schedule=cosine,wsd", "cosine, wsd"),
        ("batch.size=range(1,8)", "integers 1 to 7"),
        ("batch.size=range(10,1,-3)", "integers 4 to 10 by 3"),
        ("batch.size=int(interval(1,64))", "integers 1 to 64"),
        ("batch.size=tag(log,int(interval(1,64)))", "integers 1 to 64, log"),
        ("clip.norm=interval(0.5,2)", "0.5 to 2"),
        ("clip.norm=tag(log,interval(0.5,2))", "0.5 to 2, log"),
        ("clip.norm=range(0.5,2,0.25)", "0.5 to 1.75 by 0.25"),
        ("+model.extra=a,b", "a, b"),
        ("optimizer@routing.rest.optimizer=adam,lion", "adam, lion"),
    ],
)
def test_the_command_line_adds_dimensions(word, shown):
    [axis] = space_of(word).shared
    assert str(axis) == shown
    key, _, _ = word.partition("=")
    values = {axis.word(axis.at(share / 40)) for share in range(40)}
    assert all(text.startswith(f"{key}=") for text in values)
    found = [read(text.partition("=")[2]) for text in values]
    if "integers" in shown:
        assert all(type(value) is int for value in found)
    if "range" in word:
        assert sorted(found) == [float(text) for text in sorted(values_of(word), key=float)]


def values_of(word):
    return OverridesParser.create().parse_override(word).sweep_string_iterator()


def test_the_command_line_wins_over_the_file():
    file = {axis.key: axis for axis in space_of().own["adamw"]}
    assert {*file} == {*ranges("adamw")}
    wider = {axis.key: axis for axis in space_of("optimizer.lr=interval(1e-6,1.0)").own["adamw"]}
    assert str(wider["optimizer.lr"]) == "1e-06 to 1, log"  # the scale stays that of the file
    even = {axis.key: axis for axis in space_of("optimizer.lr=tag(linear,interval(0.1,1.0))").own["adamw"]}
    assert str(even["optimizer.lr"]) == "0.1 to 1"
    assert {*wider} == {*even} == {*file}
    for fixed, gone in [
        ("optimizer.lr=0.1", {"optimizer.lr"}),
        ("optimizer.betas=[0.9,0.99]", {"optimizer.betas.0", "optimizer.betas.1"}),
        ("++optimizer.betas.1=0.99", {"optimizer.betas.1"}),
    ]:
        space = space_of(fixed)
        assert {axis.key for axis in space.own["adamw"]} == {*file} - gone
        assert fixed in space.fixed
    listed = {axis.key: str(axis) for axis in space_of("optimizer.betas=[0.9,0.99],[0.8,0.9]").own["adamw"]}
    assert listed["optimizer.betas"] == "[0.9,0.99], [0.8,0.9]"
    assert "optimizer.betas.0" not in listed
    both = space_of("optimizer=adamw,sgd", "optimizer.lr=interval(0.01,0.1)")
    assert [axis.name for name in ("adamw", "sgd") for axis in both.own[name] if axis.key == "optimizer.lr"] == [
        "adamw.lr",
        "sgd.lr",
    ]


def test_an_optimizer_without_a_file_is_tuned_by_the_command_line_alone():
    space = space_of("optimizer.lr=tag(log,interval(1e-3,1))", "optimizer.name=Adagrad", chosen="torch")
    assert [str(axis) for axis in space.own["torch"]] == ["0.001 to 1, log"]


@pytest.mark.parametrize(
    ("words", "seeds"),
    [([], (0,)), (["seed=7"], (7,)), (["seed=3,1,2"], (3, 1, 2)), (["seed=range(10,13)"], (10, 11, 12))],
)
def test_seeds_are_no_dimension(words, seeds):
    space = space_of(*words)
    assert space.seeds == seeds
    assert not [axis for axis in space.axes("adamw") if "seed" in axis.key]
    assert not [word for word in space.fixed if "seed" in word]


def test_numbers_are_what_a_reader_sees_and_stay_in_their_range():
    lr = Axis("lr", "optimizer.lr", low=1.23456e-3, high=0.1, scale="log")
    assert lr.word(0.0123456) == "optimizer.lr=0.0123"
    assert lr.word(1.23456e-3) == "optimizer.lr=0.00123456"
    beta = Axis("beta", "optimizer.betas.1", low=0.9, high=0.9999, scale="log_one_minus")
    assert beta.word(0.99876543) == "optimizer.betas.1=0.99877"
    assert turned(beta, turned(beta, 0.99)) == pytest.approx(0.99)
    for axis in (lr, beta):
        assert axis.at(0.0) == pytest.approx(axis.low)
        assert [axis.on_edge(axis.at(share)) for share in (0.01, 0.06, 0.5, 0.94, 0.99)] == [True, *[False] * 3, True]
    assert Axis("lr", "lr", low=1e-4, high=1e-2, scale="log").at(0.5) == pytest.approx(1e-3)
    assert Axis("b", "b", low=0.9, high=0.999, scale="log_one_minus").at(0.5) == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["optimizer=adamw,adamx"], "optimizer=adamx is unknown; did you mean adamax, adam or radam?"),
        (["optimizer=torch,adamw"], "optimizer=torch has no search space; allowed is a file search/torch.yaml."),
        (["test=last"], "test=last is not possible in a search; allowed is none"),
        (["test=last,best"], "test=last,best is not possible in a search"),
        (["task=objective,gan"], "task=objective,gan is not possible in a search; allowed is one task."),
        (["experiment=a,b"], "allowed is one experiment."),
        (["batch.size=range(3,3)"], "batch.size=range(3,3) is empty; allowed is a range with values."),
        (["clip.norm=interval(2,1)"], "clip.norm=interval(2,1) is not possible; allowed is a lower number before"),
        (["clip.norm=interval(1,1)"], "allowed is a lower number before a higher one."),
        (["clip.norm=tag(log,interval(0,1))"], "is not possible on the scale log; allowed are numbers above 0."),
        (["clip.norm=tag(log_one_minus,interval(0,1))"], "on the scale log_one_minus; allowed are numbers below 1."),
        (["clip.norm=tag(log,range(1,9,2))"], "is not possible on the scale log; allowed is an interval."),
        (["clip.norm=tag(ordinal,interval(1,2))"], "tag ordinal is not possible; allowed is linear, log or log_one"),
        (["seed=interval(0,3)"], "seed=interval(0,3) is not possible; allowed are integers, such as seed=0,1,2"),
        (["seed=a,b"], "seed=a,b is not possible; allowed are integers"),
        (["optimizer=interval(0,1)"], "optimizer=interval(0,1) is not possible; allowed are names"),
    ],
)
def test_what_cannot_be_tuned_is_one_sentence(words, sentence):
    with pytest.raises(ConfigError) as caught:
        space_of(*words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_is_interrupted_tries_what_an_uninterrupted_one_does(sampler, trials_of):
    space = space_of("optimizer=adamw,sgd_momentum,sgd")

    def rate(setting):
        return abs(math.log(setting["optimizer.lr"] / 0.003)) if setting["optimizer"] != "sgd" else math.inf

    whole = searched(trials_of(space, sampler, database="whole"), 20, rate)
    assert len({json.dumps(setting) for setting in whole}) == 20
    parts = []
    for total in (3, 10, 11, 20):  # each with a new connection, as a new command has
        parts += searched(trials_of(space, sampler, database="parts"), total, rate, size=1 if total < 11 else 2)
    alike = searched(trials_of(space, sampler, database="alike"), 20, rate, size=1)
    assert len(parts) == len(alike) == 20
    if sampler != "tpe":
        assert parts == alike == whole  # nothing hangs on the results
    assert parts[:11] == alike[:11]
    assert searched(trials_of(space, sampler, database="parts"), 20, rate) == []


@pytest.mark.parametrize("values", range(6))
def test_a_trial_that_was_cut_off_while_it_was_drawn_is_gone_on_with(values, trials_of):
    space = space_of("optimizer=adamw,sgd_momentum")
    trials = trials_of(space, database="sqlite")
    searched(trials, 3, lambda setting: 1.0)
    torn = trials.study.ask()  # killed here: the storage has the first of its values
    optimizer = torn.suggest_categorical("optimizer", space.optimizers) if values else "adamw"
    for axis in space.own[optimizer][: max(values - 1, 0)]:
        suggested(torn, axis)
    again = trials_of(space, database="sqlite")
    [one] = again.ask(1, 4, set())
    assert one.number == 3
    setting = settings(one.overrides)
    assert {*setting} - {"optimizer", "test"} == {*ranges(setting["optimizer"])}
    before = torn.params
    [after] = [trial.params for trial in again.all if trial.number == 3]
    assert {key: after[key] for key in before} == before
    again.tell(3, [0.5])
    assert again.ranked()[0].number == 3
    assert [*again.ask(1, 4, set())] == []


def test_of_a_round_that_was_cut_off_all_trials_come_back_before_new_ones(trials_of):
    space = space_of("optimizer=adamw")
    first = trials_of(space)
    begun = [*first.ask(3, 5, set())]
    first.tell(begun[1].number, [1.0])
    again = trials_of(space)
    assert [*again.ask(2, 5, set())] == [begun[0], begun[2]]
    assert [one.number for one in trials_of(space).ask(9, 5, {0})] == [2, 3, 4]


@pytest.mark.parametrize("direction", ["min", "max"])
def test_the_value_is_the_mean_over_seeds_and_a_divergence_is_the_worst(direction, trials_of):
    trials = trials_of(space_of("seed=0,1,2"), direction=direction)
    sign = 1 if direction == "min" else -1
    results = [[1.0, 2.0, 6.0], [sign * 1e308, sign * 1e308, sign * 1e308], [0.0, None, 0.0], [2.0, 2.0, 2.0]]
    asked = [*trials.ask(4, 4, set())]
    for one, values in zip(asked, results, strict=True):
        trials.tell(one.number, values)
    by_number = {trial.number: trial.value for trial in trials.all}
    assert by_number[0] == 3.0
    assert by_number[3] == 2.0
    assert by_number[2] == sign * math.inf
    assert [trial.number for trial in trials.ranked()] == ([3, 0, 1, 2] if direction == "min" else [0, 3, 1, 2])
    assert trials.study.best_trial.number == (3 if direction == "min" else 0)  # Optuna's own view


def test_tpe_goes_on_where_most_trials_diverge_and_finds_what_is_left(trials_of):
    """Of lr from 1e-5 to 1e-2 all above 1e-4 diverges, two thirds; the least loss is at 5e-5."""

    def rate(setting):
        return None if setting["optimizer.lr"] > 1e-4 else abs(math.log(setting["optimizer.lr"] / 5e-5))

    space = space_of("optimizer=adamw", "optimizer.betas=[0.9,0.99]", "optimizer.eps=1e-8")
    late = []
    for seed in range(3):
        trials = trials_of(space, seed=seed, database=seed)
        late += [setting["optimizer.lr"] <= 1e-4 for setting in searched(trials, 40, rate)[20:]]
        assert trials.ranked()[0].value < 0.3
    assert statistics.mean(late) > 0.7  # a third, if it drew at random


def test_tpe_is_better_than_random_on_a_quadratic(trials_of):
    """In the logarithms of two numbers, with a rival whose best is worse; the others do not matter."""

    def rate(setting):
        worse = 0.05 if setting["optimizer"] == "adam" else 0.0
        return (
            worse + math.log10(setting["optimizer.lr"] / 0.002) ** 2 + math.log10(setting["optimizer.eps"] / 1e-7) ** 2
        )

    space = space_of("optimizer=adamw,adam")
    best = {
        sampler: statistics.median(
            min(map(rate, searched(trials_of(space, sampler, seed=seed, database=f"{sampler}{seed}"), 40, rate)))
            for seed in range(5)
        )
        for sampler in ("tpe", "random")
    }
    assert best["tpe"] < best["random"]


def test_what_failed_is_tried_again_with_the_same_values_and_counts_once(trials_of):
    space = space_of("optimizer=adamw,sgd")
    trials = trials_of(space)
    lost, kept = trials.ask(2, 2, set())
    trials.give_up(lost.number, "out of memory")
    trials.tell(kept.number, [1.0])
    assert [*trials.ask(2, 2, set())] == []
    trials = trials_of(space)
    trials.retry_failed()
    assert len(trials.all) == 2
    [again] = trials.ask(2, 2, set())
    assert again.again
    assert again.overrides == lost.overrides
    [same] = trials_of(space).ask(2, 2, set())  # killed meanwhile
    assert same == again
    trials.tell(again.number, [0.5])
    assert [trial.number for trial in trials.ranked()] == [again.number, kept.number]
    trials.retry_failed()
    assert [*trials.ask(2, 2, set())] == []


def test_a_study_about_something_else_is_told_of(trials_of):
    trials_of(space_of("optimizer=adamw"))
    with pytest.raises(ConfigError) as caught:
        trials_of(space_of("optimizer=adamw", "optimizer.lr=interval(0.1,0.2)", "seed=0,1"))
    assert "hydra.sweeper.study_name=s is a study with another space and seeds in its storage" in str(caught.value)
    storage, _ = open_storage("sqlite:///:memory:", Path("unused"))
    optuna.create_study(storage=storage, study_name="s").add_trial(optuna.create_trial(value=1.0))
    space = space_of("optimizer=adamw")
    with pytest.raises(ConfigError, match="another optimizers, space, fixed and seeds"):
        Trials(storage, "s", space, space.record, "min", "tpe", 0)


def search(*words):
    """Run a search in this process, its jobs too; returns the exit code."""
    return main(["train", "-m", "hydra/sweeper=optuna", "hydra/launcher=basic", *QUICK, *words])


def runs():
    """Of each run folder its configuration, status and summary."""
    folders = sorted(Path("runs").glob("r*"))
    return {
        folder.name: (
            OmegaConf.to_container(OmegaConf.load(folder / "config.yaml")),
            json.loads((folder / "status.json").read_text()),
            json.loads((folder / "summary.json").read_text()) if (folder / "summary.json").exists() else None,
        )
        for folder in folders
    }


def table(place):
    return list(csv.DictReader((place / "trials.csv").open()))


@pytest.mark.slow
def test_a_search_from_its_command_line_to_its_best_setting(capsys):
    words = ["optimizer=adam,sgd_momentum", "seeds=2", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=sweep"]
    assert search(*words) == 0
    said = capsys.readouterr().out
    done = runs()
    assert len(done) == 6
    lines = table(Path("sweep"))
    for line in lines:
        mine = [done[name] for name in line["runs"].split()]
        assert [config["seed"] for config, _, _ in mine] == [0, 1]
        assert {config["test"] for config, _, _ in mine} == {"none"}
        assert not [key for _, _, summary in mine for key in summary["metrics"] if key.startswith("test/")]
        gaps = [summary["metrics"]["val/gap"] for _, _, summary in mine]
        assert gaps[0] != gaps[1]
        assert float(line["value"]) == pytest.approx(sum(gaps) / 2, rel=1e-12)
        setting = settings(line["overrides"].split())
        for config, _, _ in mine:
            assert config["optimizer"]["lr"] == setting["optimizer.lr"]
            assert config["choices"]["optimizer"] == setting["optimizer"]
    best = yaml.safe_load(Path("sweep", "best.yaml").read_text())
    assert best["value"] == min(float(line["value"]) for line in lines)
    assert best["metric"] == "val/gap"
    assert done[best["runs"][1]][2]["metrics"]["val/gap"] == best["values"][1]
    [command] = [line for line in said.splitlines() if line.startswith("Best: python train.py ")]
    copied = shlex.split(command)[3:]
    assert copied == best["overrides"]
    assert not {"test=none", "seed=0"} & {*copied}  # so that the test split is measured, at seeds of one's own
    assert "3 trials of 6 runs: 3 finished; in sweep and as study objective-" in said
    jobs = [json.loads(line) for line in Path("sweep", "jobs.jsonl").read_text().splitlines()]
    assert {job["run_id"] for job in jobs if "run_id" in job} == {*done}
    # The same again does nothing, and more trials go on from there.
    assert search(*words) == 0
    assert runs() == done
    assert "3 trials are done, 0 to be run of 2 seeds, 1 at a time." in capsys.readouterr().out
    assert search(*words, "hydra.sweeper.n_trials=4", "hydra.sweep.dir=more") == 0
    assert len(runs()) == 8
    assert done.items() <= runs().items()
    assert table(Path("more"))[:3] == lines
    assert len([*Path("runs", "searches").iterdir()]) == 1
    # What is copied is a run, which is tested.
    assert main(["train", *copied, "seed=5", "paths.runs_dir=tested"]) == 0
    [summary] = Path("tested").glob("r*/summary.json")
    assert "test/gap" in json.loads(summary.read_text())["metrics"]


def test_a_dry_run_says_what_would_be_done_and_leaves_nothing(capsys):
    words = ["optimizer=adam,sgd", "seeds=3", "hydra.sweeper.n_trials=7", "hydra.sweep.dir=sweep", "dry_run=true"]
    assert search(*words) == 0
    said = capsys.readouterr().out
    assert "0 trials are done, 7 to be run of 3 seeds, 1 at a time." in said
    keys = {tuple(line.split()[:2]) for line in said.splitlines()}
    assert {(name, key) for name in ("adam", "sgd") for key in ranges(name)} <= keys
    [price] = [line.split() for line in said.splitlines() if line.startswith("objective, quadratic, point")]
    assert price[3] == "21"
    assert not Path("runs").exists()
    assert not Path("sweep").exists()


def test_what_decides_a_search_has_a_study_of_its_own():
    words = ["optimizer=sgd", "optimizer.weight_decay=0", "hydra.sweeper.n_trials=1"]
    for more in (
        [],
        ["seeds=2"],
        ["budget.steps=5"],
        ["optimizer.lr=interval(0.1,0.2)"],
        ["hydra.sweeper.sampler=sobol"],
    ):
        assert search(*words, *more) == 0
    assert search(*words, "log.every=1", "name=mine", "paths.cache_dir=elsewhere") == 0  # they decide no result
    assert len([*Path("runs", "searches").iterdir()]) == 5


def test_runs_that_diverge_are_the_worst_and_those_that_fail_have_no_value(capsys):
    """On this quadratic gradient descent diverges from lr=2 on; it fails where the file of weights is none."""
    words = ["optimizer=sgd", "optimizer.weight_decay=0", "optimizer.lr=0.1,0.5,1e30", "hydra.sweep.dir=sweep"]
    words += ["hydra.sweeper.n_trials=6", "hydra.sweeper.sampler=random", "dataset.condition=1", "budget.steps=30"]
    assert search(*words) == 0
    lines = table(Path("sweep"))
    ends = {line["runs"]: line["end"] for line in lines}
    values = {settings(line["overrides"].split())["optimizer.lr"]: line["end"] for line in lines}
    assert values == {0.1: "finished", 0.5: "finished", 1e30: "diverged"}
    assert {line["value"] for line in lines if line["end"] == "diverged"} == {"inf"}
    assert len(ends) == len(runs()) == 3 < len(lines)  # a setting that is drawn again is not run again
    assert all(status["attempt"] == 1 and not status["resumed"] for _, status, _ in runs().values())
    said = capsys.readouterr().out
    assert f"{sum(line['end'] == 'diverged' for line in lines)} diverged" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials=0 is not possible; allowed is an integer of 1 or more."),
        (["hydra.sweeper.n_trials=1.5"], "hydra.sweeper.n_trials=1.5 is not possible"),
        (
            ["hydra.sweeper.at_a_time=0"],
            "hydra.sweeper.at_a_time=0 is not possible; allowed is an integer of 1",
        ),
        (["hydra.sweeper.sampler=cmaes"], "hydra.sweeper.sampler=cmaes is not possible; allowed is tpe, random or sob"),
        (
            ["hydra.sweeper.sampler_seed=-1"],
            "hydra.sweeper.sampler_seed=-1 is not possible; allowed is an integer of 0",
        ),
        (["hydra.sweeper.study_name=a/b"], "hydra.sweeper.study_name=a/b is not possible; allowed is the name of a"),
        (["hydra.sweeper.study_name=3"], "hydra.sweeper.study_name=3 is not possible; allowed is text, or null."),
        (["hydra.sweeper.storage=nowhere"], "hydra.sweeper.storage=nowhere cannot be used"),
        (["hydra.sweeper.trials=3"], "hydra.sweeper.trials is unknown"),
        (["dry_run=maybe"], "hydra.sweeper.dry_run=maybe is not possible; allowed is true or false."),
        (["retry_failed=1"], "hydra.sweeper.retry_failed=1 is not possible; allowed is true or false."),
        (["seeds=0"], "seeds=0 is not possible; allowed is an integer of 1 or more."),
        (["seeds=2", "seed=1"], "seeds=2 and seed=1 cannot both be; allowed is one of them."),
        (["optimizer=adamx,adam"], "optimizer=adamx is unknown; did you mean adamax"),
        (["optimizer=torch", "optimizer.name=Adagrad"], "optimizer=torch has no search space; allowed is a file"),
        (["optimizer=sgd", "optimizer.momentum=interval(0.5,0.9)"], "optimizer.momentum is unknown"),
        (["optimizer=sgd", "optimizer.lr=0.1", "optimizer.weight_decay=0"], "optimizer=sgd has nothing left to tune"),
        (["test=last"], "test=last is not possible in a search"),
        (["budget.steps=-1"], "budget.steps=-1 is out of range"),
        (["hydra.sweeper.study_name=mine", "optimizer=sgd"], "is a study with another optimizers, space"),
    ],
)
def test_a_wrong_order_is_one_sentence_and_runs_nothing(words, sentence, capsys):
    if "hydra.sweeper.study_name=mine" in words:
        assert search("optimizer=adam", "hydra.sweeper.n_trials=1", "hydra.sweeper.study_name=mine") == 0
    before = runs()
    capsys.readouterr()
    assert search(*words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("steepest: ")
    assert sentence in line
    assert runs() == before


def test_one_process_at_a_time_works_on_a_study(capsys):
    place = Path("runs", "searches", "mine")
    place.mkdir(parents=True)
    with lock(place / "lock"):
        assert search("optimizer=sgd", "hydra.sweeper.study_name=mine") == 2
    assert "searches/mine is in use by this process; allowed is one run at a time" in capsys.readouterr().err
    assert runs() == {}


def test_a_search_whose_runs_are_all_refused_ends_at_once(capsys):
    assert search("model=logistic", "hydra.sweeper.n_trials=50") == 2
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith("steepest: model=logistic needs input_shape")
    assert last == "steepest: its configuration is refused."


class Folders:
    """A launcher, and what finds its runs: each leaves in its folder what `ends` says of its seed and attempt."""

    def __init__(self, ends):
        self.ends, self.launched = ends, []

    def identify(self, words):
        config = {"paths": {"runs_dir": "runs"}, "force": False}
        return PlannedJob([*words], config, f"r{settings(words)['optimizer.lr']}-{settings(words)['seed']}", "digest")

    def launch(self, jobs, number):
        self.launched.append([settings(words) for words in jobs])
        values = [self.run(self.identify([word for word in words if word != "force=true"])) for words in jobs]
        return [SimpleNamespace(_return_value=value) for value in values]

    def run(self, job):
        seed = settings(job.overrides)["seed"]
        end = self.ends[seed].pop(0) if len(self.ends[seed]) > 1 else self.ends[seed][0]
        record = {"source_digest": "digest", "status": end, "reason": f"it {end}"}
        job.folder.path.mkdir(parents=True, exist_ok=True)
        if isinstance(end, Exception):
            return end
        if isinstance(end, float):
            record |= {"status": "finished"}
            write_json(job.folder.path / "summary.json", {"headline": {"value": end}})
        write_json(job.folder.path / "status.json", record)
        return math.nan if end == "diverged" else end


def rounds_of(trials, launcher, retry_failed=False):
    Path("sweep").mkdir(exist_ok=True)
    return Rounds(trials, launcher, launcher, Ledger(Path("sweep")), retry_failed)


@pytest.mark.parametrize(
    ("end", "word", "reason"),
    [
        (2.0, TrialState.COMPLETE, None),
        ("diverged", TrialState.COMPLETE, None),
        ("failed", TrialState.FAIL, "it failed"),
        ("running", TrialState.FAIL, "it left no result"),  # killed: it could not say so
        (JobFailed("ended by SIGKILL"), TrialState.FAIL, "ended by SIGKILL"),
    ],
)
def test_a_trial_is_what_its_worst_run_is(end, word, reason, trials_of):
    trials = trials_of(space_of("optimizer=sgd", "seed=0,1"))
    rounds_of(trials, Folders({0: [1.0], 1: [end]})).run(2, 2)
    assert [trial.state for trial in trials.all] == [word] * 2
    for trial in trials.all:
        assert reason is None or reason in trial.user_attrs["reason"]
        assert trial.user_attrs["runs"] == [
            f"r{settings(trial.user_attrs['overrides'])['optimizer.lr']}-{i}" for i in (0, 1)
        ]
        assert trial.value == ({2.0: 1.5, "diverged": math.inf}.get(end) if word is TrialState.COMPLETE else None)


def test_a_run_that_was_asked_to_stop_is_gone_on_with_by_the_next_command(trials_of):
    space = space_of("optimizer=sgd", "seed=0,1")
    launcher = Folders({0: [1.0], 1: ["preempted", 3.0]})
    rounds = rounds_of(trials_of(space), launcher)
    rounds.run(1, 1)
    assert rounds.left == {0}
    rounds = rounds_of(trials_of(space), launcher)
    rounds.run(1, 1)
    assert rounds.left == set()
    assert [trial.value for trial in rounds.trials.all] == [2.0]
    assert [[job["seed"] for job in jobs] for jobs in launcher.launched] == [[0, 1], [1]]


def test_what_failed_runs_again_only_when_asked(trials_of):
    space = space_of("optimizer=sgd", "seed=0,1")
    launcher = Folders({0: [1.0], 1: ["failed", 3.0]})
    rounds_of(trials_of(space), launcher).run(1, 1)
    rounds_of(trials_of(space), launcher).run(1, 1)
    assert len(launcher.launched) == 1
    trials = trials_of(space)
    trials.retry_failed()
    rounds_of(trials, launcher, retry_failed=True).run(1, 1)
    assert [[job["seed"] for job in jobs] for jobs in launcher.launched] == [[0, 1], [1]]
    assert [trial.value for trial in trials.all] == [2.0]


def test_a_result_by_other_source_is_not_used(trials_of):
    space = space_of("optimizer=sgd")
    launcher = Folders({0: [1.0]})
    [one] = trials_of(space, database="look").ask(1, 1, set())
    folder = launcher.identify([*one.overrides, "seed=0"]).folder.path
    folder.mkdir(parents=True)
    write_json(folder / "status.json", {"status": "finished", "source_digest": "older"})
    write_json(folder / "summary.json", {"headline": {"value": 9.0}})
    trials = trials_of(space)
    rounds_of(trials, launcher).run(1, 1)
    assert [trial.value for trial in trials.all] == [1.0]
    [[job]] = launcher.launched
    assert job["force"] is True


def test_two_trials_of_one_round_with_the_same_run_share_it(trials_of):
    space = space_of("optimizer=sgd", "optimizer.weight_decay=0", "optimizer.lr=0.1,0.2")
    launcher = Folders({0: [1.0]})
    trials = trials_of(space, "random")
    rounds_of(trials, launcher).run(8, 8)
    assert [trial.value for trial in trials.all] == [1.0] * 8
    assert sorted(job["optimizer.lr"] for jobs in launcher.launched for job in jobs) == [0.1, 0.2]


def test_refusals_end_a_search_that_has_no_value_yet(trials_of):
    space = space_of("optimizer=sgd")
    refused = ConfigError("batch.size=0 is not possible.")
    trials = trials_of(space)
    with pytest.raises(ConfigError, match="size=0 is not possible"):
        rounds_of(trials, Folders({0: [refused]})).run(9, 3)
    assert len(trials.all) == 3
    trials = trials_of(space, database="later")
    rounds_of(trials, Folders({0: [1.0, refused]})).run(9, 1)
    assert [trial.state for trial in trials.all] == [TrialState.COMPLETE, *[TrialState.FAIL] * 8]


@pytest.mark.parametrize(
    ("sampler", "at_a_time", "fits", "size"),
    [("tpe", None, 3, 3), ("tpe", None, 256, 10), ("tpe", None, 0, 1), ("tpe", 40, 3, 40), ("sobol", None, 256, 256)],
)
def test_tpe_has_rounds_to_learn_from(sampler, at_a_time, fits, size):
    options = Options(50, at_a_time, None, sampler, 0, None, None, False, False)
    assert round_of(options, fits) == size


@pytest.mark.parametrize("missing", ["optuna", "sqlalchemy"])
def test_without_optuna_it_says_how_to_get_it(missing, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("steepest.sweeps.tuning")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(missing), *sys.meta_path])
    assert search() == 2
    needs = f"hydra/sweeper=optuna needs the package {missing}, which is not installed: pip install 'steepest[search]'."
    assert capsys.readouterr().err == f"steepest: {needs}\n"


class Without:
    """An import system that lacks a package."""

    def __init__(self, name):
        self.name = name

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.name:
            raise ModuleNotFoundError(f"No module named '{name}'", name=self.name)


def test_a_start_does_not_import_optuna():
    command = [sys.executable, "-X", "importtime", "-m", "steepest.cli", "train", "--cfg", "job", "optimizer=sgd"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra" in imported
    assert not {"optuna", "sqlalchemy", "torch", "scipy"} & imported


def command(*words):
    isolated = ["hydra/launcher=isolated", "hydra.launcher.n_jobs=2", "optimizer=adam,sgd_momentum", "seeds=2"]
    return [sys.executable, str(TRAIN), "-m", "hydra/sweeper=optuna", *isolated, *QUICK, *words]


@pytest.mark.slow
@pytest.mark.skipif(not TRAIN.is_file(), reason="needs the checkout's train.py")
def test_a_search_that_is_killed_again_and_again_is_the_one_that_never_was():
    words = ["hydra.sweeper.n_trials=4"]
    Path("whole").mkdir()
    last = command(*words, "hydra.sweep.dir=sweep")
    subprocess.run(last, check=True, capture_output=True, timeout=600, cwd="whole")
    begun = lambda: len(list(Path("runs").glob("r*/status.json")))  # noqa: E731
    database = lambda: len(list(Path("runs", "searches").glob("*/study.db")))  # noqa: E731
    for look, count in [(database, 1), (begun, 2), (begun, 5)]:
        with subprocess.Popen(command(*words), stdout=subprocess.DEVNULL, start_new_session=True) as process:
            wait_for(lambda look=look, count=count: look() >= count, 300)
            process.kill()
    subprocess.run(last, check=True, capture_output=True, timeout=600)
    lines = table(Path("sweep"))
    assert len(lines) == 4
    assert lines == table(Path("whole", "sweep"))  # values included, to the last bit
    assert {name for line in lines for name in line["runs"].split()} == {*runs()}
    assert {status["attempt"] for _, status, _ in runs().values()} == {1}  # gone on with, and never begun anew
    assert len(list(Path("runs", "searches").iterdir())) == 1


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///no/such/folder/study.db", "unable to open database file"),
        ("study.db", "Could not parse"),
        ("nosql://me:secret@host/db", "nosql"),
        ("postgresql://me:secret@localhost:1/db", ""),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_sentence_without_its_password(url, reason):
    with pytest.raises(ConfigError) as caught:
        open_storage(url, Path("unused"))
    said = str(caught.value)
    assert said.startswith("hydra.sweeper.storage=")
    assert reason in said
    assert said.endswith("allowed is the URL of a database, such as sqlite:///search.db, or null.")
    assert "secret" not in said
    assert "\n" not in said


def test_a_file_that_is_no_database():
    Path("torn.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ConfigError, match="file is not a database"):
        open_storage("sqlite:///torn.db", Path("unused"))
