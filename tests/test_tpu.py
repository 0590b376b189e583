"""Training by torch_xla, whose compiler makes the same graphs for a TPU and for the processor that stands in for it.

`make tpu` runs this in the environment of scripts/setup_tpu.sh. What needs no torch_xla is in test_tpu_refused.py.
"""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from killing import content, differences, run

from steepest.callbacks.recorder import Recorder
from steepest.config import compose
from steepest.runs.folder import RunFolder
from steepest.train import train

pytestmark = pytest.mark.tpu

SHORT = ["model=mlp", "threads=1", "callbacks=none", "logger=none", "log.every=1"]
SHORT += ["budget={steps:15,epochs:null}", "validation.every=8"]  # of 10 steps to an epoch
RULES = {
    "sgd": [],
    "sgd_momentum": ["schedule=one_cycle"],
    "adamw": [],
    "lion": [],
    "lamb": [],
    "muon": ["optimizer.ns_dtype=float32"],
}
"""Rules that look at entries, tensors and matrices."""


@pytest.fixture(scope="module", autouse=True)
def _xla_on_the_processor():
    before = os.environ.get("PJRT_DEVICE")
    os.environ["PJRT_DEVICE"] = "CPU"
    yield
    os.environ.pop("PJRT_DEVICE") if before is None else os.environ.update(PJRT_DEVICE=before)


def trained(*words, trainer="tpu"):
    folder = Path(f"{trainer}-{len(list(Path().iterdir()))}")
    train(compose([f"trainer={trainer}", f"paths.runs_dir={folder}", *words]))
    [path] = folder.glob("r*")
    return RunFolder(path)


def saved(folder):
    return torch.load(folder.checkpoint("last"), weights_only=True)


def compiled():
    """How many graphs XLA has compiled in this process."""
    from torch_xla.debug import metrics

    data = metrics.metric_data("CompileTime")
    return data[0] if data else 0


@pytest.fixture
def graphs(monkeypatch):
    """What `compiled` says after each optimizer step."""
    counts, original = [], Recorder.on_train_batch_end

    def counting(*args):
        original(*args)
        counts.append(compiled())

    monkeypatch.setattr(Recorder, "on_train_batch_end", counting)
    return counts


@pytest.mark.parametrize("rule", RULES)
def test_training_is_that_of_the_processor(rule, graphs):
    words = [*SHORT, f"optimizer={rule}", *RULES[rule]]
    xla, cpu = trained(*words), trained(*words, trainer="cpu")
    assert compiled() > 0, "XLA was not in use"
    assert graphs[-1] > graphs[0]
    ours, theirs = saved(xla), saved(cpu)
    torch.testing.assert_close(ours["state_dict"], theirs["state_dict"], rtol=1e-4, atol=1e-5)
    [kept], [expected] = ours["optimizer_states"], theirs["optimizer_states"]
    torch.testing.assert_close(kept["state"], expected["state"], rtol=1e-4, atol=1e-5)
    assert [row["opt_step"] for row in xla.rows()] == [row["opt_step"] for row in cpu.rows()]
    for one, other in zip(xla.rows(), cpu.rows(), strict=True):
        for key in one.keys() & {"train/loss", "train/grad_norm", "train/update_norm", "val/loss", "test/loss", "lr"}:
            assert one[key] == pytest.approx(other[key], rel=1e-4), (key, one["opt_step"])
    for key in ("val/accuracy", "test/accuracy"):
        assert xla.summary["metrics"][key] == pytest.approx(cpu.summary["metrics"][key], abs=1e-6)


def test_convolutions_with_batch_normalisation_and_clipping_are_those_of_the_processor():
    words = [*SHORT, "model=cnn", "dataset.crop_padding=1", "dataset.flip=true", "clip.norm=0.5", "budget.steps=3"]
    ours, theirs = (saved(trained(*words, trainer=trainer))["state_dict"] for trainer in ("tpu", "cpu"))
    for name, expected in theirs.items():
        # XLA adds the squares of a whole batch one by one, in float32.
        rtol = 2e-3 if "running" in name else 1e-4
        torch.testing.assert_close(ours[name], expected, rtol=rtol, atol=1e-5, msg=lambda said, name=name: name + said)


@pytest.mark.parametrize("rule", ["adamw", "lamb", "muon"])
def test_no_step_is_compiled_twice(rule, graphs):
    """A learning rate, a step's number or a batch's place that is a constant of the graph makes each step a new one."""
    trained(*SHORT, f"optimizer={rule}", "budget.steps=40", "log.every=10", "validation.every=20", "schedule=cosine")
    grown = {step for step, (one, next_) in enumerate(pairwise(graphs), 2) if next_ > one}
    # Others: a step with a row, the one after a validation, and the last one.
    assert grown <= {2, 3, 10, 11, 20, 21, 40}, grown


def test_a_killed_run_ends_as_one_that_was_left_alone():
    words = [*SHORT, "trainer=tpu", "optimizer=adamw", "model.dropout=0.3", "checkpoint.every_steps=5"]
    alone, moments = run(words, runs_dir="alone")
    assert saved(alone)["run"]["ranks"][0]["rng"]["xla"] != []
    folder, _ = run(words, [moments // 2], runs_dir="killed")
    assert "\n".join(differences(content(alone), content(folder))) == ""


def test_the_seed_decides_the_dropout_of_the_device():
    words = [*SHORT, "model.dropout=0.5", "budget.steps=3", "optimizer=sgd", "dataset=digits"]
    weights = [saved(trained(*words, f"seed={seed}"))["state_dict"] for seed in (1, 1, 2)]
    assert differences(weights[0], weights[1]) == []
    seeds = [saved(trained(*words, f"seed={seed}"))["run"]["ranks"][0]["rng"]["xla"] for seed in (1, 2)]
    assert seeds[0] != seeds[1]


def test_a_model_trained_on_xla_is_evaluated_on_the_processor(capsys):
    from steepest.evaluate import evaluate_command

    folder = trained(*SHORT, "optimizer=adamw")
    evaluate_command([str(folder.path), "--split", "test"])
    assert f"{folder.summary['metrics']['test/accuracy']:.6g}" in capsys.readouterr().out


def test_without_a_tpu_the_processor_is_taken_only_by_name():
    code, said = steepest("trainer=tpu", PJRT_DEVICE=None)
    assert code == 2
    assert "trainer=tpu needs a TPU, and this machine has none" in said
    assert "PJRT_DEVICE=CPU" in said


def test_a_sweep_trains_one_run_after_the_other():
    words = ["-m", "trainer=tpu", "optimizer=sgd,adamw", *SHORT, "budget={steps:3,epochs:null}"]
    code, said = steepest(*words, PJRT_DEVICE="CPU")
    assert code == 0, said
    statuses = [json.loads(path.read_text())["status"] for path in Path("runs").glob("r*/status.json")]
    assert statuses == ["finished", "finished"]


def steepest(*words, **environment):
    """The command's exit code, and what it prints."""
    given = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-m", "steepest.cli", "train", *words],
        env={key: value for key, value in given.items() if value is not None},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr
