"""`steepest reproduce` from its command line to its table, on runs of a few steps."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from steepest.cli import main
from steepest.config import quoted
from steepest.errors import ConfigError
from steepest.run_study import alone
from steepest.runs.folder import RunFolder

STUDY = {
    "question": "Which?",
    "source": "a test",
    "common": {
        "claim": "SGD is better.",
        "condition": "digits",
        "metric": "test/accuracy",
        "select": "val/accuracy",
        "direction": "max",
        "worst": 0.1,
        "margin": 0.01,
        "base": [
            "dataset=digits",
            "model=logistic",
            "threads=1",
            "callbacks=none",
            "budget.epochs=null",
            "budget.steps=4",
        ],
        "search": {"trials": 2, "reserve": 1},
        "seeds": 2,
    },
    "rows": {"first": {"recommended": "sgd", "contenders": ["sgd", "adam"]}},
}


def written(folder, **rows):
    place = folder / "tiny"
    place.mkdir(exist_ok=True)
    (place / "study.yaml").write_text(yaml.safe_dump({**STUDY, "rows": rows or STUDY["rows"]}))
    return place


def command(folder, *words):
    study = f"study={folder / 'tiny' / 'study.yaml'}"
    return [sys.executable, "-m", "steepest.cli", "reproduce", study, f"paths.runs_dir={folder / 'runs'}", *words]


def steepest(*words):
    return subprocess.run([sys.executable, "-m", "steepest.cli", *words], capture_output=True, text=True, timeout=60)


def reproduce(folder, *words, timeout=300):
    return subprocess.run(command(folder, *words), capture_output=True, text=True, timeout=timeout, check=False)


def attempts(folder):
    return {
        run.name: RunFolder(run).status["attempt"]
        for run in (folder / "runs").glob("r*")
        if (run / "status.json").is_file()
    }


def test_a_study_ends_with_its_table_and_is_not_run_again(tmp_path):
    home = written(tmp_path)
    (home / "README.md").write_text(
        "# Mine\n\nWritten by hand.\n\n<!-- measured -->\nold\n<!-- /measured -->\n\nThe end.\n"
    )
    done = reproduce(tmp_path, "hydra.launcher.n_jobs=2", "publish=true")
    assert done.returncode == 0, done.stderr
    assert "To do: 10 runs" in done.stdout
    assert "10 of 10 runs are done" in done.stdout
    assert "inconclusive" in done.stdout
    out = tmp_path / "runs" / "studies" / "tiny-smoke"
    results, verdicts = pd.read_csv(out / "results.csv"), pd.read_csv(out / "verdicts.csv")
    assert results.groupby(["contender", "phase"]).size().to_dict() == {
        (name, phase): count
        for name in ("sgd", "adam")
        for phase, count in (("search", 2), ("reserve", 1), ("evaluate", 2))
    }
    assert verdicts.verdict.tolist() == ["inconclusive"]
    assert "machinery" in verdicts.reason[0]
    assert "tiny" in (out / "report.html").read_text()
    for line in results.itertuples():
        folder = RunFolder(tmp_path / "runs" / line.run_id)
        metrics = folder.summary["metrics"]
        assert line.digest == folder.status["source_digest"]
        assert metrics["val/accuracy"] == line.validation
        assert ("test/accuracy" in metrics) == (line.phase == "evaluate")  # trials do not read the test split
    stands = steepest("status", "--runs-dir", str(tmp_path / "runs"))
    assert stands.stdout == f"{out / 'jobs'}: 10 runs: 10 finished\n"
    readme = (home / "README.md").read_text()
    assert readme.startswith("# Mine\n\nWritten by hand.")
    assert readme.endswith("The end.\n")
    assert "old" not in readme
    assert "inconclusive" in readme
    before = attempts(tmp_path)
    assert len(before) == 10
    # The committed results count, even where the folders are gone.
    again = reproduce(tmp_path, f"paths.runs_dir={tmp_path / 'elsewhere'}")
    assert "To do: 0 runs" in again.stdout, again.stdout + again.stderr
    assert attempts(tmp_path) == before
    pairs = results[results.phase == "evaluate"].pivot(index="seed", columns="contender", values="run_id")
    assert pairs.notna().all(axis=None)


def test_the_same_seed_gives_every_contender_the_same_initial_weights(tmp_path):
    base = ["dataset=digits", "model=mlp", "threads=1", "seed=1000", "logger=none", "callbacks=none"]
    runs = [f"paths.runs_dir={tmp_path}", "budget.epochs=null", "budget.steps=1", "optimizer.lr=0.0"]
    for name in ("sgd", "adam"):
        assert main(["train", *base, *runs, f"optimizer={name}"]) == 0
    first, second = (torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in tmp_path.glob("r*"))
    names = [name for name in first["state_dict"] if name.startswith("model.")]
    assert names
    assert all(torch.equal(first["state_dict"][name], second["state_dict"][name]) for name in names)
    losses = [RunFolder(run).rows()[0]["train/loss"] for run in tmp_path.glob("r*")]
    assert losses[0] == losses[1]  # the same first batch


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "study is missing"),
        (["study=domain"], "did you mean domains"),
        (["study=domains", "scale=tiny"], "scale=tiny is unknown"),
        (["study=domains", "rows=vision"], "did you mean vision_cnn"),
        (["study=domains", "budget.steps=3"], "what runs stands in study.yaml"),
        (["study=domains", "optimizer=adam"], "what runs stands in study.yaml"),
        (["study=domains", "dry_run=maybe"], "allowed is true or false"),
        (["study=domains", "seeds=1"], "allowed is an integer of 2 or more"),
        (["study=domains", "dryrun=true"], "did you mean dry_run"),
    ],
)
def test_mistakes_are_told_in_a_sentence(words, said, capsys):
    if not words:
        words = ["scale=smoke"]
    assert main(["reproduce", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_mistake_and_the_help_do_not_wait_for_torch():
    program = (
        "import sys, steepest.cli as c; code = c.main(sys.argv[1:]); assert 'torch' not in sys.modules; sys.exit(code)"
    )
    for words, code in ((["study=domain"], 2), (["--help"], 0)):
        line = [sys.executable, "-c", program, "reproduce", *words]
        assert subprocess.run(line, capture_output=True, check=False).returncode == code


def test_a_metric_that_is_not_measured_is_told_by_the_bill(tmp_path):
    written(tmp_path, first={**STUDY["rows"]["first"], "select": "val/accuracyy"})
    done = reproduce(tmp_path, "dry_run=true")
    assert done.returncode == 2
    assert "rows.first.select=val/accuracyy is not measured" in done.stderr
    assert not attempts(tmp_path)


@pytest.mark.slow
def test_a_run_that_fails_and_one_that_diverges_stop_nothing(tmp_path):
    broken = {"name": "broken", "optimizer": "lbfgs", "overrides": ["clip.norm=1.0"]}  # refused: clipping and closures
    wild = {"name": "wild", "optimizer": "sgd", "ranges": {"lr": [1e37, 3e38]}}
    written(tmp_path, first={"recommended": "sgd", "contenders": ["sgd", broken, wild]})
    done = reproduce(tmp_path, "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    results = pd.read_csv(tmp_path / "runs" / "studies" / "tiny-smoke" / "results.csv")
    assert set(results[results.contender == "sgd"].status) == {"finished"}
    assert set(results[results.contender == "broken"].status) == {"failed"}
    assert set(results[results.contender == "wild"].status) == {"diverged"}
    assert "failed: r" in done.stdout
    stands = steepest("status", "runs/studies/tiny-smoke/jobs")
    assert stands.returncode == 1
    assert "failed" in stands.stdout
    assert "clip.norm=1" in " ".join(stands.stdout.split())
    verdict = pd.read_csv(tmp_path / "runs" / "studies" / "tiny-smoke" / "verdicts.csv").reason[0]
    assert "broken" in verdict


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_study_goes_on_where_it_was(tmp_path, how):
    written(tmp_path)
    words = command(tmp_path, "hydra.launcher.n_jobs=1")
    started = subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while sum(RunFolder(run).has_result for run in (tmp_path / "runs").glob("r*")) < 3:
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.05)  # to look at the folders, not to wait for a time to pass
    os.killpg(started.pid, how) if how == signal.SIGINT else started.kill()
    assert started.wait(timeout=120) != 0
    before = {run.name for run in (tmp_path / "runs").glob("r*") if RunFolder(run).has_result}
    assert 3 <= len(before) < 10
    done = reproduce(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 of 10 runs are done" in done.stdout
    found = attempts(tmp_path)
    assert len(found) == 10
    assert all(found[name] == 1 for name in before)


@given(st.text(st.sampled_from("a0 ,=:$[]{}\"'\\")))
def test_quoted_text_is_what_hydra_reads_back(text):
    assert OverridesParser.create().parse_override(f"a={quoted(text)}").value() == text


def test_a_study_has_one_process_at_a_time_in_a_folder(tmp_path):
    out = tmp_path / "runs" / "studies" / "toy-smoke"
    with alone(out):
        with pytest.raises(ConfigError, match="toy-smoke is in use by this process; allowed is one"), alone(out):
            pass
        with alone(out.with_name("toy-small")):
            pass
    with alone(out):
        pass


def test_runs_that_cannot_be_written_are_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("no folder")
    wrong = r"paths.runs_dir=.*/runs cannot be written \(Not a directory\); allowed"
    with pytest.raises(ConfigError, match=wrong), alone(tmp_path / "runs" / "studies" / "toy-smoke"):
        pass


@pytest.mark.slow
def test_any_hydra_launcher_runs_a_study(tmp_path):
    written(tmp_path)
    done = reproduce(tmp_path, "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    assert len(attempts(tmp_path)) == 10
    status = json.loads((tmp_path / "runs" / next(iter(attempts(tmp_path))) / "status.json").read_text())
    assert status["status"] == "finished"
