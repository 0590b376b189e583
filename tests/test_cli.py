"""The command line as a user meets it, in processes of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from steepest.cli import main
from steepest.config import conf_dir

TRAIN = conf_dir().parent / "train.py"
needs_checkout = pytest.mark.skipif(not TRAIN.is_file(), reason="needs the checkout's train.py")


def typed(*words, program=None):
    """Run a command line in the current folder."""
    command = program or [sys.executable, str(TRAIN)]
    return subprocess.run([*command, *words], capture_output=True, text=True, timeout=120)


@needs_checkout
def test_a_run_leaves_a_clean_terminal_and_one_folder():
    done = typed("threads=1", "budget.epochs=2", "optimizer=adamw", "schedule=warmup_cosine")
    assert done.returncode == 0
    assert done.stderr == ""
    [folder] = Path("runs").iterdir()
    lines = done.stdout.split("\n")
    assert "digits-cnn-adamw-warmup_cosine-s0: finished" in lines
    assert any(line.strip().startswith("test ") and "accuracy" in line for line in lines)
    assert f"Next: steepest eval {folder}   steepest predict {folder}" in lines
    assert {path.name for path in Path().iterdir()} == {"runs"}
    again = typed("threads=1", "budget.epochs=2", "optimizer=adamw", "schedule=warmup_cosine")
    assert "already finished" in again.stdout
    assert main(["predict", str(folder)]) == 0
    assert (folder / "predictions-test-last.csv").is_file()


@needs_checkout
def test_a_sweep_makes_one_folder_a_run_and_goes_on_after_a_mistake():
    words = ["model=logistic", "threads=1", "budget.steps=5", "logger=wandb", "-m", "optimizer=sgd,adam"]
    done = typed(*words, "batch.size=32,9999")
    assert done.returncode == 2
    assert "batch.size=9999 exceeds the training set" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list(Path("runs").glob("*/summary.json"))) == 2
    assert len(list(Path("runs").glob("*/wandb/offline-run-*"))) == 2
    assert {path.name for path in Path().iterdir()} == {"runs"}


@needs_checkout
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer=adamx"], "optimizer=adamx is unknown; did you mean adamax, adam or radam?"),
        (["optimizer.lrr=1"], "did you mean optimizer.lr?"),
        (["schedule=cosine", "schedule.warmup=3"], "schedule.warmup"),
        (["modle=cnn"], "did you mean model?"),
        (["--lr", "0.1"], "did you mean optimizer.lr=...?"),
        (["clip.norm=-1"], "clip.norm=-1 is not possible; allowed is a number above 0, or null."),
        (["seed=${nope}"], "seed=${nope} refers to nope"),
        (["optimizer.lr=[1"], "optimizer.lr=[1 cannot be read"),
        (["experiment=nothing"], "experiment=nothing is unknown"),
        (["tuned=true"], "tuned=true needs an experiment"),
    ],
)
def test_a_mistake_is_one_line_with_exit_code_2_and_no_torch(words, said):
    done = typed(*words, program=[sys.executable, "-X", "importtime", str(TRAIN)])
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert len(lines) == 1
    assert lines[0].startswith("steepest: ")
    assert said in lines[0]
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "hydra.main" in modules
    assert not modules & {"torch", "pytorch_lightning", "wandb", "sklearn"}
    assert not list(Path().iterdir())


@needs_checkout
def test_the_configuration_is_shown_without_torch():
    done = typed("optimizer=adam", "--cfg", "job", program=[sys.executable, "-X", "importtime", str(TRAIN)])
    assert done.returncode == 0
    assert "steepest.optimizers.adam.Adam" in done.stdout
    assert "| torch\n" not in done.stderr
    assert not list(Path().iterdir())


@needs_checkout
def test_help_lists_groups_and_keys():
    done = typed("--help")
    assert done.returncode == 0
    for word in ("optimizer: adabelief, adadelta", "schedule: constant, cosine", "budget:", "-m optimizer=adam"):
        assert word in done.stdout


def test_unknown_commands_and_runs_are_named(capsys):
    assert main(["trian"]) == 2
    assert "'trian' is no command; allowed are train, eval" in capsys.readouterr().err
    assert main(["eval", "no-such-run"]) == 2
    assert "'no-such-run' is no run folder" in capsys.readouterr().err
    assert main([]) == 0
    assert "usage: steepest COMMAND" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["eval", "x", "--split", "train"])
    assert stop.value.code == 2
