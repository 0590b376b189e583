"""Sweeps: which runs their jobs mean, and what of them is run."""

import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from steepest import train
from steepest.cli import main
from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.launchers.lines import JobLines
from steepest.launchers.processes import Outcome
from steepest.runs.folder import RunFolder
from steepest.runs.headline import Headline
from steepest.runs.identity import source_digest
from steepest.runs.lock import lock
from steepest.sweeps.identify import Identifier
from steepest.sweeps.ledger import Ledger, own_folder
from steepest.sweeps.seeds import with_seeds

TINY = ["model=logistic", "callbacks=none", "logger=none", "budget.steps=3", "budget.epochs=null", "threads=1"]
SWEEP = ["train", "-m", "hydra/launcher=basic", *TINY]


def identifier(*overrides, launcher_gives=None):
    hydra = Hydra.create_main_hydra2(task_name="t", config_search_path=create_config_search_path(str(conf_dir())))
    GlobalHydra.instance().clear()
    primary = hydra.compose_config("config", [*overrides], run_mode=RunMode.MULTIRUN)
    return Identifier(hydra.config_loader, primary, launcher_gives)


@pytest.fixture(scope="module")
def shared():
    return identifier()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {
            "optimizer": st.sampled_from(["adamw", "sgd", "lamb"]),
            "model": st.sampled_from(["mlp", "logistic"]),
        },
        optional={
            "optimizer.lr": st.sampled_from(["0.1", "1e-3", "3"]),
            "optimizer.weight_decay": st.sampled_from(["0.0", "0.25"]),
            "seed": st.integers(0, 9),
            "threads": st.integers(1, 3),
            "batch.size": st.sampled_from([16, "null"]),
            "budget.epochs": st.integers(1, 9),
            "clip.norm": st.sampled_from(["null", 1.5]),
            "schedule": st.sampled_from(["constant", "warmup_cosine"]),
            "validation.every": st.sampled_from(["0.5", "'2 epochs'", 7]),
            "name": st.sampled_from(["a", "'it is'", "null"]),
            "paths.data_dir": st.sampled_from(["here", "/there"]),
            "trainer": st.sampled_from(["cpu", "ddp_cpu"]),
            "log.norms": st.sampled_from(["true", "false"]),
            "routing": st.sampled_from(["auto", "uniform"]),
        },
    )
)
def test_a_planned_run_has_the_id_and_the_digest_that_the_run_alone_has(shared, choices):
    words = [f"{key}={value}" for key, value in choices.items()]
    job = shared.identify(words)
    config, run_id = train.settled(compose(job.overrides))
    assert job.run_id == run_id
    assert job.digest == source_digest(config)
    assert train.settled(compose(words))[1] == run_id  # what is added is what a run alone makes of it


def test_what_the_launcher_gives_is_part_of_the_id():
    one = identifier(launcher_gives=lambda config: ["threads=1"]).identify(TINY[:-1])
    two = identifier(launcher_gives=lambda config: ["threads=2"]).identify(TINY[:-1])
    assert one.run_id != two.run_id
    assert one.overrides == [*TINY[:-1], "threads=1", "trainer.accelerator=cpu"]
    assert one.run_id == train.settled(compose(one.overrides))[1]


def test_values_that_others_refer_to_and_words_that_add_are_composed(shared):
    for words in (["trainer=fsdp2", "trainer.devices=1", "trainer.accelerator=cpu"], ["++optimizer.cautious=true"]):
        job = shared.identify(["optimizer=adamw", *words])
        assert job.run_id == train.settled(compose(job.overrides))[1]
    by_devices = [shared.identify(["trainer=fsdp2", "trainer.accelerator=cpu", f"trainer.devices={n}"]) for n in (1, 2)]
    assert [job.config["trainer"]["strategy"]["data_parallel_size"] for job in by_devices] == [1, 2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lrr=1"], "lrr"),
        (["seed=x"], "seed=x is not possible"),
        (["budget.steps=null", "budget.epochs=null"], "are all null"),
        (["threads=0"], "threads=0 is not possible"),
    ],
)
def test_a_mistake_is_told_when_the_runs_are_planned(shared, words, said):
    with pytest.raises(Exception, match=said):
        shared.identify(["optimizer=adamw", *words])


def test_planning_imports_no_torch():
    ask = "import sys, test_sweeps_plan\n"
    Path("test_sweeps_plan.py").write_text(
        "import sys\n"
        "from hydra._internal.hydra import Hydra\n"
        "from hydra._internal.utils import create_config_search_path\n"
        "from hydra.types import RunMode\n"
        "from steepest.config import conf_dir\n"
        "from steepest.sweeps.identify import Identifier\n"
        "path = create_config_search_path(str(conf_dir()))\n"
        "hydra = Hydra.create_main_hydra2(task_name='t', config_search_path=path)\n"
        "primary = hydra.compose_config('config', [], run_mode=RunMode.MULTIRUN)\n"
        "print(Identifier(hydra.config_loader, primary, None).identify(['optimizer=adamw']).run_id)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("r")


def test_seeds_are_a_dimension():
    assert with_seeds(["a=1"], None) == ["a=1"]
    assert with_seeds(["a=1"], 3) == ["a=1", "seed=0,1,2"]


@pytest.mark.parametrize("seeds", [0, -1, True, 1.5, "x"])
def test_seeds_that_are_none_are_refused(seeds):
    with pytest.raises(ConfigError, match=r"seeds=.* is not possible; allowed is an integer of 1 or more"):
        with_seeds([], seeds)


def test_seeds_and_a_seed_are_refused(capsys):
    assert main([*SWEEP, "seeds=2", "seed=3"]) == 2
    assert "seeds=2 and seed=3 cannot both be" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["seeds=2", "dry_run=true", "retry_failed=true"])
def test_words_of_a_sweep_need_one(word, capsys):
    assert main(["train", *TINY, word]) == 2
    assert f"{word} is for sweeps; allowed with -m." in capsys.readouterr().err


def ran(capsys, *words, code=0):
    """What a sweep in this process prints; and how many runs it has run."""
    before = {path: path.stat().st_mtime_ns for path in Path("runs").glob("r*/status.json")}
    capsys.readouterr()
    assert main([*SWEEP, *words]) == code
    after = {path: path.stat().st_mtime_ns for path in Path("runs").glob("r*/status.json")}
    said = capsys.readouterr()
    return said.out + said.err, sum(before.get(path) != when for path, when in after.items())


def test_only_what_is_missing_runs(capsys):
    said, count = ran(capsys, "optimizer=sgd,adam", "seeds=2")
    assert count == 4
    assert said.startswith("4 jobs: 4 to run.\n")
    said, count = ran(capsys, "optimizer=sgd,adam", "seeds=2")
    assert count == 0
    assert said.startswith("4 jobs: 0 to run, 4 done.\n")
    assert "Best 2 of 2 settings" in said
    said, count = ran(capsys, "optimizer=sgd,adam,lion", "seed=0,1,1")  # a grid that has grown
    assert count == 2
    assert said.startswith("9 jobs: 2 to run, 4 done, 3 mean the same run as another.\n")
    said, count = ran(capsys, "optimizer=sgd", "seed=0", "force=true")
    assert count == 1
    assert len([*Path("runs").glob("r*/attempts/1")]) == 1


def test_failed_runs_are_run_again_when_asked_and_stale_ones_by_force(capsys):
    _, count = ran(capsys, "optimizer=sgd", "seed=0,1")
    assert count == 2
    failed, stale = [RunFolder(path) for path in sorted(Path("runs").glob("r*"))]
    failed.end("failed", "ValueError: for a test")
    record = json.loads((stale.path / "status.json").read_text())
    (stale.path / "status.json").write_text(json.dumps({**record, "source_digest": "0" * 12}))
    words = ["optimizer=sgd", "seed=0,1"]
    said, count = ran(capsys, *words, code=1)
    assert count == 0
    assert "1 failed (retry_failed=true runs them again)" in said
    assert "1 done by other source or versions (stale; force=true runs them again)" in said
    assert "steepest: 1 of the runs failed before" in said
    assert "ValueError: for a test" in said
    said, count = ran(capsys, *words, "retry_failed=true")
    assert count == 1
    assert failed.status["status"] == "finished"
    assert len(failed.status["resumed"]) == 1  # it goes on where it was
    said, count = ran(capsys, *words, "force=true")
    assert count == 2


def test_a_failure_by_other_source_is_run_again_at_once(capsys):
    ran(capsys, "optimizer=sgd", "seed=0")
    [folder] = [RunFolder(path) for path in Path("runs").glob("r*")]
    folder.end("failed", "ImportError: for a test")
    record = folder.status
    (folder.path / "status.json").write_text(json.dumps({**record, "source_digest": "0" * 12}))
    _, count = ran(capsys, "optimizer=sgd", "seed=0")
    assert count == 1


def test_a_run_of_another_process_is_left_to_it(capsys):
    ran(capsys, "optimizer=sgd", "seed=0")
    [folder] = [RunFolder(path) for path in Path("runs").glob("r*")]
    folder.end("preempted", "for a test")
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from steepest.runs.lock import lock\n"
            "with lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()",
            str(folder.path / "lock"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    said, count = ran(capsys, "optimizer=sgd", "seed=0")
    assert count == 0
    assert "0 to run, 1 run by another process" in said
    holder.communicate("")
    said, count = ran(capsys, "optimizer=sgd", "seed=0")
    assert count == 1


def test_numbers_go_on_in_a_folder_that_was_used_before(capsys):
    ran(capsys, "optimizer=sgd", "seed=0", "hydra.sweep.dir=sweep")
    ran(capsys, "optimizer=sgd", "seed=0,1", "hydra.sweep.dir=sweep")
    ran(capsys, "optimizer=sgd", "seed=0,1", "hydra.sweep.dir=sweep", "force=true")
    ledger = Ledger(Path("sweep"))
    numbers = [line["number"] for line in ledger.lines() if "number" in line]
    assert numbers == [0, 1, 2, 3]  # the run that was done is known to the ledger, and forced ones are new jobs
    assert len(ledger.entries()) == 2
    assert len(ledger.commands()) == 3


def test_a_folder_that_is_in_use_is_not_shared():
    with lock_of_another(Path("sweep")):
        with own_folder(Path("sweep"), may_differ=True) as folder:
            assert folder == Path("sweep-2")
        with pytest.raises(ConfigError, match="sweep is in use by"), own_folder(Path("sweep"), may_differ=False):
            pass
    Path("file").touch()
    with pytest.raises(ConfigError, match="cannot be written"), own_folder(Path("file/sweep"), may_differ=True):
        pass


def lock_of_another(folder):
    folder.mkdir()
    return lock(folder / "lock")


@pytest.mark.slow
def test_the_bill_of_a_sweep(capsys):
    said, count = ran(capsys, "optimizer=sgd,adam", "seed=0,1,1", "dry_run=true")
    assert count == 0
    assert not Path("runs").exists()
    assert said.startswith("6 jobs: 4 to run, 2 mean the same run as another.\n")
    [line] = [line for line in said.splitlines() if line.startswith("classification, digits, logistic")]
    assert line.split()[3:5] == ["4", "3"]  # runs, steps
    assert "a probe" in line
    assert "device hours" in said
    ran(capsys, "optimizer=sgd,adam", "seed=0,1")
    said, _ = ran(capsys, "optimizer=sgd,adam,lion", "seed=0,1", "dry_run=true")
    assert "4 done" in said
    assert "4 runs" in next(line for line in said.splitlines() if line.startswith("classification"))


def test_a_bill_for_what_does_not_work_says_so(capsys):
    said, _ = ran(capsys, "batch.size=99999", "dry_run=true", code=2)
    assert "a run of this sweep does not work" in said
    assert "batch.size=99999 exceeds the training set" in said


def status(capsys, *words):
    capsys.readouterr()
    code = main(["status", *words])
    return code, capsys.readouterr().out


def test_status_tells_every_state(capsys):
    ran(capsys, "optimizer=sgd", "seeds=6", "hydra.sweep.dir=runs/sweeps/one")
    assert status(capsys, "runs/sweeps/one")[0] == 0
    folders = {
        entry.number: RunFolder(Path("runs") / entry.run_id) for entry in Ledger(Path("runs/sweeps/one")).entries()
    }
    folders[1].end("failed", "ValueError: [red]brackets[/red]")
    folders[2].end("preempted", "terminated from outside")
    record = folders[3].status
    (folders[3].path / "status.json").write_text(json.dumps({**record, "status": "running"}))
    (folders[4].path / "status.json").unlink()
    (folders[5].path / "status.json").write_text(json.dumps({**folders[5].status, "source_digest": "0" * 12}))
    code, said = status(capsys, "runs/sweeps/one")
    assert code == 1
    assert "6 runs: 1 finished, 2 preempted, 1 failed, 1 stale and 1 missing" in said
    assert "ValueError: [red]brackets[/red]" in said
    assert "cut off on" in said
    assert "seed=4" in said
    assert "seed=0" not in said
    assert "seed=0" in status(capsys, "runs/sweeps/one", "--all")[1]
    code, said = status(capsys)
    assert said == "runs/sweeps/one: 6 runs: 1 finished, 2 preempted, 1 failed, 1 stale and 1 missing\n"


def test_status_knows_why_a_job_began_no_run(capsys):
    ran(capsys, "batch.size=8,99999", "hydra.sweep.dir=runs/sweeps/one", "hydra/launcher=isolated", code=2)
    code, said = status(capsys, "runs/sweeps/one")
    assert code == 1
    assert "1 finished and 1 failed" in said
    assert "exceeds the training set; allowed is up to 1294." in " ".join(said.split())


@pytest.mark.parametrize(
    ("words", "said"), [(["nowhere"], "nowhere is no sweep"), ([], "--runs-dir=runs has no sweeps")]
)
def test_status_of_nothing(words, said, capsys):
    assert main(["status", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_job_that_was_killed_has_failed(capsys):
    """Its process could not say so: its launcher does, in the run's own record."""
    trouble = ["--allow-target", "isolated_jobs", "callbacks=default", "+callbacks.trouble.ends={1:kill}"]
    trouble += ["+callbacks.trouble._target_=isolated_jobs.Trouble", "+callbacks.trouble.seed=${seed}"]
    words = ["train", "-m", *(word for word in TINY if not word.startswith("callbacks")), "seeds=2"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-m", "steepest.cli", *words, *trouble, "hydra.sweep.dir=sweep"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=here)
    assert done.returncode == 1
    assert "ended by SIGKILL" in done.stderr
    code, said = status(capsys, "sweep")
    assert code == 1
    assert "2 runs: 1 finished and 1 failed" in said
    assert "ended by SIGKILL" in said
    said, count = ran(capsys, "seeds=2", code=1)
    assert count == 0
    assert "0 to run, 1 done, 1 failed (retry_failed=true runs them again)" in said
    said, count = ran(capsys, "seeds=2", "retry_failed=true")
    assert count == 1
    assert status(capsys, "sweep")[0] == 0


def test_the_live_table_says_how_all_stand(monkeypatch):
    lines = JobLines([f"job {i}" for i in range(30)], [Path("log")] * 30, Console(file=io.StringIO()))
    assert lines.standing() == "0 running, 0 done, 0 failed, 30 to come"
    for index in range(26):
        lines(index, None)
    lines(0, Outcome(0, Headline.of(0.5, "val/accuracy", "max"), 1.0, 100.0, None))
    lines(1, Outcome(0, Headline.of(0.75, "val/accuracy", "max"), 1.0, 100.0, None))
    lines(2, Outcome(0, Headline.of(float("nan"), "val/accuracy", "max"), 1.0, 100.0, None))
    lines(3, Outcome(1, None, 1.0, 100.0, "exit code 1"))
    said = lines.standing()
    assert said.startswith("22 running, 3 done, 1 failed, 4 to come, about ")
    assert said.endswith("best val/accuracy so far 0.75 (job 1)")
    console = Console(file=io.StringIO(), width=80)
    console.print(lines.table())
    table = console.file.getvalue()
    assert "job 4 " in table
    assert "job 3 " not in table
    assert "and 2 more" in table


@pytest.mark.parametrize(("direction", "better", "worse"), [("max", 0.9, 0.1), ("min", 0.1, 0.9)])
def test_a_headline_knows_what_is_better(direction, better, worse):
    better, worse, diverged = (Headline.of(value, "m", direction) for value in (better, worse, float("nan")))
    assert better.better_than(worse)
    assert not worse.better_than(better)
    assert worse.better_than(diverged)
    assert not diverged.better_than(worse)
    assert not diverged.better_than(diverged)
    again = pickle.loads(pickle.dumps(better))
    assert (again, again.metric, again.direction) == (better, "m", direction)
