"""Several processes on one batch."""

import json
from pathlib import Path

import pytest
import torch

from steepest.assemble import assemble
from steepest.config import compose
from steepest.launchers.machine import cores, settle
from steepest.launchers.ranks import RankFailed
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


FULL = ["batch=full", "batch.micro_size=431"]
SCALED = ["batch.size=100", "batch.micro_size=25", "batch.lr_scaling=linear"]
DDP, FSDP2 = ["trainer=ddp_cpu", "precision=fp64"], ["trainer=fsdp2", "trainer.accelerator=cpu"]


def equal(strategy, words, tolerance):
    """Two ranks and one process with the joint batch come to the same, on models without dropout or batch norm."""
    precision = [word for word in strategy if word.startswith("precision=")]
    alone, together = run(*words, *precision), run(*words, *strategy)
    torch.testing.assert_close(weights(together), weights(alone), rtol=tolerance, atol=tolerance)
    for key in ("opt_steps", "examples", "grad_evals"):
        assert together.summary[key] == alone.summary[key]
    for key in ("val/loss", "val/accuracy", "test/loss", "test/accuracy"):
        assert together.summary["metrics"][key] == pytest.approx(
            alone.summary["metrics"][key], abs=max(1e-6, tolerance)
        )
    steps = [json.loads(line)["opt_step"] for line in together.metrics_file.read_text().splitlines()]
    assert steps == [json.loads(line)["opt_step"] for line in alone.metrics_file.read_text().splitlines()]
    return alone, together


@TWO
@pytest.mark.parametrize(("strategy", "tolerance"), [(DDP, 1e-11), (FSDP2, 1e-5)], ids=["ddp_cpu", "fsdp2"])
@pytest.mark.parametrize("batch", [["batch.size=100"], FULL, SCALED], ids=["mini", "full", "scaled"])
def test_two_ranks_equal_one_process_with_the_joint_batch(strategy, tolerance, batch):
    alone, together = equal(strategy, batch, tolerance)
    lr = [[row["lr"] for row in folder.rows() if "lr" in row] for folder in (alone, together)]
    assert lr[0] == lr[1]  # scaled for the joint batch
    assert together.summary["examples"] == 12 * (100 if "batch.size=100" in batch else alone.summary["examples"] // 12)


@pytest.mark.slow
@TWO
@pytest.mark.parametrize(
    "model",
    [["model=mlp"], ["model=vit", "model.dim=8", "model.depth=1", "model.heads=2", "model.dropout=0.0"]],
    ids=["mlp", "vit"],
)
def test_two_ranks_equal_one_process_on_deep_models(model):
    equal(DDP, [*model, "optimizer=adamw", "batch.size=100"], 1e-9)


@pytest.mark.slow
@TWO
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lamb", []),
        pytest.param("lars", ["optimizer.lr=1"], marks=pytest.mark.slow),
        # bfloat16 would round sums in another order to other numbers.
        pytest.param("muon", ["optimizer.ns_dtype=float32"], marks=pytest.mark.slow),
        pytest.param("shampoo", ["optimizer.every=4"], marks=pytest.mark.slow),
    ],
)
def test_optimizers_of_whole_matrices_see_them_whole_on_shards(name, words):
    """Norms, products and roots of a sharded matrix are those of the matrix: half of it would give other steps.

    SOAP: in double precision in test_training_optimizers.py; where a pixel is always 0, its basis is a rounding error.
    """
    words = ["model=mlp", "model.hidden=[32,32]", f"optimizer={name}", *words, "batch.size=100"]
    cfg = compose([*BASE, *words])
    settle(cfg)
    start = flat(assemble(cfg).task.state_dict())
    alone, together = flat(weights(run(*words))), flat(weights(run(*words, *FSDP2)))
    assert (together - alone).norm() < 0.01 * (alone - start).norm()  # in single precision


def flat(state):
    return torch.cat([state[name].double().flatten() for name in sorted(state) if name.startswith("model.")])


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_batch_norm_over_ranks_is_that_of_the_joint_batch():
    words = ["model=mlp", "model.batch_norm=true", "batch.size=100", "precision=fp64"]
    alone = run(*words, "trainer=gpu")
    together = run(*words, "trainer=ddp", "devices=2", "trainer.sync_batchnorm=true")
    torch.testing.assert_close(weights(together), weights(alone), rtol=1e-9, atol=1e-9)


@TWO
def test_a_rank_that_diverges_ends_the_run_as_diverged():
    folder = run("trainer=ddp_cpu", "model=mlp", "optimizer=sgd", "optimizer.lr=1e30", "log.every=1")
    assert folder.status["status"] == "diverged"
    assert "at optimizer step" in folder.status["reason"]


@TWO
def test_a_rank_that_cannot_begin_is_named():
    Path("file").write_text("no folder")
    with pytest.raises(RankFailed, match=r"rank 0 of 2 failed: NotADirectoryError: "):
        run("trainer=ddp_cpu", "logger=csv", "logger.csv.save_dir=file/x")
    [status] = Path("runs").glob("*/status.json")
    assert json.loads(status.read_text())["status"] == "failed"
    assert "NotADirectoryError" in (status.parent / "log.txt").read_text()
