"""Several processes on one batch."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from steepest.config import compose
from steepest.launchers.machine import cores
from steepest.runs.folder import RunFolder
from steepest.train import train

TWO = pytest.mark.skipif(cores() < 2, reason="two ranks need two cores")
BASE = ["model=logistic", "threads=1", "budget.steps=12", "budget.epochs=null", "logger=none"]


def run(*overrides):
    before = set(Path("runs").glob("*"))
    train(compose([*BASE, *overrides]))
    [path] = set(Path("runs").glob("*")) - before
    return RunFolder(path)


def weights(folder):
    state = torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("model.")}


@TWO
@pytest.mark.parametrize(
    ("strategy", "precision", "tolerance"),
    [(["trainer=ddp_cpu"], "fp64", 1e-11), (["trainer=fsdp2", "trainer.accelerator=cpu"], "fp32", 1e-5)],
    ids=["ddp_cpu", "fsdp2"],
)
@pytest.mark.parametrize("batch", [["batch.size=100"], ["batch=full", "batch.micro_size=431"]], ids=["mini", "full"])
def test_two_ranks_equal_one_process_with_the_joint_batch(strategy, precision, tolerance, batch):
    batch = [*batch, f"precision={precision}"]
    alone, together = run(*batch), run(*batch, *strategy)
    torch.testing.assert_close(weights(together), weights(alone), rtol=tolerance, atol=tolerance)
    for key in ("opt_steps", "examples", "grad_evals"):
        assert together.summary[key] == alone.summary[key]
    for key in ("val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert together.summary["metrics"][key] == pytest.approx(alone.summary["metrics"][key], abs=1e-6)
    steps = [json.loads(line)["opt_step"] for line in together.metrics_file.read_text().splitlines()]
    assert steps == [json.loads(line)["opt_step"] for line in alone.metrics_file.read_text().splitlines()]


@TWO
def test_a_rank_that_diverges_ends_the_run_as_diverged():
    folder = run("trainer=ddp_cpu", "model=mlp", "optimizer=sgd", "optimizer.lr=1e30", "log.every=1")
    assert folder.status["status"] == "diverged"
    assert "at optimizer step" in folder.status["reason"]


@TWO
def test_a_rank_that_fails_ends_the_others_and_is_named():
    Path("file").write_text("no folder")
    with pytest.raises(RuntimeError, match=r"rank [01] of 2 failed with exit code 1"):
        run("trainer=ddp_cpu", "logger=csv", "logger.csv.save_dir=file/x")
    [status] = Path("runs").glob("*/status.json")
    assert json.loads(status.read_text())["status"] == "failed"
    assert "NotADirectoryError" in (status.parent / "log.txt").read_text()


@TWO
def test_ranks_go_when_the_process_that_started_them_is_killed():
    words = ["trainer=ddp_cpu", "budget.steps=1000000", "budget.epochs=null", "callbacks=none", "logger=none"]
    command = [sys.executable, "-m", "steepest.cli", "train", *words, "model=logistic"]
    starter = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any(path.stat().st_size for path in Path("runs").glob("*/metrics.jsonl")))
        found = ranks_below(starter.pid)
    finally:
        starter.kill()
        starter.wait()
    assert len(found) == 2
    wait_for(lambda: not any(alive(pid) for pid in found))


def wait_for(happened, seconds=90):
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def ranks_below(parent):
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=True)
    return [int(word) for word in listing.stdout.split()]


def alive(pid):
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"
