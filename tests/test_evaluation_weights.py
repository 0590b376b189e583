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
    "routed": ["optimizer=schedule_free_adamw", "routing=matrices", "optimizer@routing.rest.optimizer=adam"],
    "library": ["optimizer=library", "optimizer.name=ScheduleFreeAdamW"],
}


def run(*words):
    train(compose([*QUIET, *SHORT, *words]))
    [path] = Path("runs").iterdir()
    return RunFolder(path)


def loaded(file):
    return torch.load(file, weights_only=True)


def numbers(printed):
    """The values of a printed table of metrics."""
    rows = (line.split() for line in printed.splitlines() if "/" in line and len(line.split()) == 2)
    return {name: float(value) for name, value in rows}


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
        found = numbers(capsys.readouterr().out)
        of = "best/val" if which == "best" else "val"
        assert found["val/loss"] == pytest.approx(metrics[f"{of}/loss"], rel=1e-5)
        assert found["val/accuracy"] == pytest.approx(metrics[f"{of}/accuracy"], rel=1e-5)
    evaluate_command([str(folder.path), "--split", "test"])
    found = numbers(capsys.readouterr().out)
    assert found["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-5)


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


class Rounded(torch.optim.SGD):
    """A library's optimizer whose way back from the weights to evaluate is not exact."""

    def eval(self):
        self.shift(1.0)

    def train(self):
        self.shift(-0.999)

    @torch.no_grad()
    def shift(self, by):
        for p in self.param_groups[0]["params"]:
            p.add_(by)


def test_training_goes_on_from_the_very_weights_that_validation_interrupted(monkeypatch):
    seen = []
    step = Rounded.step
    monkeypatch.setattr(Rounded, "step", lambda self, *args, **kwargs: (step(self, *args, **kwargs), note(self))[0])

    def note(optimizer):
        seen.append(optimizer.param_groups[0]["params"][0].detach().clone())

    monkeypatch.setattr("steepest.assemble.routing", lambda cfg, factor: lambda model: Rounded(model.parameters(), 0.1))
    run("optimizer=sgd", "schedule=constant")
    swapped = seen[:]
    seen.clear()
    shutil.rmtree("runs")
    run("optimizer=sgd", "schedule=constant", "validation.every=1.0", "checkpoint.every_steps=null")
    assert len(swapped) == len(seen) == 12
    assert all(map(torch.equal, swapped, seen))


def kept_rows(folder):
    """The metric rows without their times."""
    return [{k: v for k, v in row.items() if k not in ("wall_s", "train/examples_per_s")} for row in folder.rows()]


def test_an_optimizer_that_trains_its_model_leaves_nothing_beside_it():
    assert "trained_weights" not in loaded(run("optimizer=adamw").checkpoint("last"))
