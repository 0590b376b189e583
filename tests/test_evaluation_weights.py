"""The model is the weights to evaluate; training goes on with the others, through checkpoints and validations."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from steepest.config import compose
from steepest.evaluate import evaluate_command
from steepest.runs.folder import RunFolder
from steepest.train import train

QUIET = ["model=mlp", "model.hidden=[16]", "callbacks=none", "logger=none", "threads=1", "log.every=1"]
SHORT = ["budget={steps:12,epochs:null}", "checkpoint.every_steps=5", "validation.every=4", "checkpoint.keep=null"]
OPTIMIZERS = {
    "schedule_free_adamw": ["optimizer=schedule_free_adamw"],
    "schedule_free_sgd": ["optimizer=schedule_free_sgd"],
    "lookahead": ["optimizer=nesterov", "optimizer.form=lookahead"],
    "routed": ["optimizer=schedule_free_adamw", "routing=hidden_matrices", "optimizer@routing.rest.optimizer=adam"],
    "library": ["optimizer=library", "optimizer.name=ScheduleFreeAdamW"],
}


def run(*words):
    train(compose([*QUIET, *SHORT, *words]))
    [path] = Path("runs").iterdir()
    return RunFolder(path)


def loaded(file):
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("words", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_checkpoints_hold_the_model_and_what_is_trained_beside_it(words):
    folder = run(*words)
    last = loaded(folder.checkpoint("last"))
    trained, model = last["trained_weights"], last["state_dict"]
    assert trained.keys() == {name for name in model if name.startswith("model.")}
    assert any(not torch.equal(trained[name], model[name]) for name in trained)
    assert "trained_weights" not in loaded(folder.checkpoint("best"))


@pytest.mark.parametrize("words", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_what_was_validated_and_tested_is_what_the_checkpoints_hold(words, capsys):
    folder = run(*words)
    metrics = folder.summary["metrics"]
    for which in ("last", "best"):
        evaluate_command([str(folder.path), "--split", "val", "--checkpoint", which])
        printed = capsys.readouterr().out
        value = metrics["best/val/accuracy" if which == "best" else "val/accuracy"]
        assert f"{value:.4f}" in printed


def test_a_resumed_run_goes_on_with_what_is_trained_bit_for_bit():
    for words in OPTIMIZERS.values():
        shutil.rmtree("runs", ignore_errors=True)
        whole = run(*words)
        straight, rows = loaded(whole.checkpoint("last")), kept_rows(whole)
        # As if it had been killed after step 5, between two validations.
        folder = whole.path / "checkpoints"
        (folder / "step-5.ckpt").rename(folder / "last.ckpt")
        for later in folder.glob("step-*.ckpt"):
            if int(later.stem[5:]) > 5:
                later.unlink()
        status = json.loads((whole.path / "status.json").read_text())
        (whole.path / "status.json").write_text(json.dumps({**status, "status": "running"}))
        resumed = run(*words)
        assert resumed.status["resumed"][0]["opt_step"] == 5
        again = loaded(resumed.checkpoint("last"))
        for part in ("state_dict", "trained_weights"):
            for name, value in straight[part].items():
                assert torch.equal(again[part][name], value), (words, part, name)
        assert kept_rows(resumed) == rows


def kept_rows(folder):
    """The metric rows without their times."""
    return [{k: v for k, v in row.items() if k not in ("wall_s", "train/examples_per_s")} for row in folder.rows()]


def test_an_optimizer_that_trains_its_model_leaves_nothing_beside_it():
    assert "trained_weights" not in loaded(run("optimizer=adamw").checkpoint("last"))
