"""A run that is killed goes on as if it had not been."""

import csv
import io
import json
import os
import random
import shutil
import time
from pathlib import Path

import datasets
import pytest
import torch
from killing import content, differences, run, start
from PIL import Image
from sklearn.datasets import load_digits

from steepest.config import compose
from steepest.launchers.machine import cores
from steepest.runs.folder import RunFolder
from steepest.train import train

LONG = ["budget={steps:34,epochs:null}", "log.every=4", "validation.every=7", "logger=none"]
LARGE = ["batch.size=128", "batch.micro_size=32", "checkpoint.every_steps=3"]
SCENARIOS = {
    "cnn": ["checkpoint.every_steps=5"],
    "momentum": ["model=mlp", "schedule=one_cycle", "optimizer=adamw", "model.dropout=0.2"],
    "accumulation": ["model=mlp", "model.batch_norm=true", "model.dropout=0.5", "batch=large", *LARGE],
    "augmentation": ["dataset.crop_padding=1", "dataset.flip=true", "model=vit", "model.dropout=0.1", "optimizer=adam"],
    "epochs": ["validation.every='1 epochs'", "model=lstm", "clip.norm=0.1", "checkpoint.every_steps=10"],
    "double": ["model=mlp", "precision=fp64", "optimizer=schedule_free_adamw", "checkpoint.every_steps=5"],
    "curvature": ["model=mlp", "model.dropout=0.2", "optimizer=lbfgs", "checkpoint.every_steps=5"],
    "routed": ["model=vit", "optimizer=soap", "routing=matrices", "optimizer@routing.rest.optimizer=torch"],
    "full": ["batch=full", "batch.micro_size=431", "model=mlp", "model.dropout=0.5", "checkpoint.every_steps=1"],
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_run_ends_as_one_that_was_left_alone(scenario):
    words = [*LONG, *SCENARIOS[scenario]]
    alone, moments = run(words, runs_dir="alone")
    expected = content(alone)
    assert expected["status"] == "finished"
    draw = random.Random(scenario)
    for kills in (1, 2, 5):
        when = [draw.randint(1, moments // kills) for _ in range(kills)]
        folder, _ = run(words, when, runs_dir=f"killed-{kills}")
        assert "\n".join(differences(expected, content(folder))) == "", when
        assert folder.status["attempt"] == 1


@pytest.fixture
def parquet(tmp_path):
    """150 of scikit-learn's digits as PNG files in a table."""
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(num_classes=10))
    found = load_digits()
    for name, part in (("train", slice(120)), ("test", slice(120, 150))):
        images = [io.BytesIO() for _ in found.images[part]]
        for file, image in zip(images, found.images[part], strict=True):
            Image.fromarray((image * 15).astype("uint8")).save(file, "PNG")
        table = {
            "image": [{"bytes": file.getvalue(), "path": None} for file in images],
            "label": [int(label) for label in found.target[part]],
        }
        datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / f"parquet/{name}.parquet")
    return tmp_path / "parquet"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_that_streams_ends_the_same_with_any_number_of_workers(parquet, workers):
    words = ["dataset=mnist_hf", f"dataset.path={parquet}", "dataset.in_memory=false", "dataset.flip=true"]
    words += ["dataset.crop_padding=1", "model=mlp", "model.dropout=0.2", "batch.size=8", "logger=none"]
    words += ["budget={steps:20,epochs:null}", "validation.every=9", "checkpoint.every_steps=4"]
    alone, moments = run([*words, "dataset.workers=0"], runs_dir="alone")
    expected = content(alone)
    kills = [moments // 3, moments // 4]
    folder, _ = run([*words, f"dataset.workers={workers}"], kills, runs_dir="killed")
    assert "\n".join(differences(expected, content(folder))) == ""


def small(*words):
    train(compose(["callbacks=none", "logger=none", "threads=1", "model=logistic", *LONG[:3], *words]))
    [path] = Path("runs").glob("r*")
    return RunFolder(path)


def cut(folder):
    """Let a finished run look as if it had been killed after its training."""
    status = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**status, "status": "running"}))


def steps_of(folder):
    return sorted(int(path.stem.removeprefix("step-")) for path in folder.path.glob("checkpoints/step-*.ckpt"))


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ([], [28]),
        (["checkpoint.keep=4"], [14, 21, 28]),
        (["checkpoint.keep=null", "checkpoint.every_steps=10"], [7, 10, 14, 20, 21, 28, 30]),
        (["checkpoint.keep=null", "checkpoint.every_seconds=1e-9"], list(range(1, 34))),
        (["validation.every=1.0"], []),
    ],
)
def test_the_latest_checkpoints_are_kept(words, kept):
    folder = small(*words)
    assert steps_of(folder) == kept
    last = torch.load(folder.checkpoint("last"), weights_only=True)
    assert last["run"]["opt_step"] == last["counters"]["opt_step"] == 34
    for step in kept:
        assert torch.load(folder.checkpoint(f"step-{step}"), weights_only=True)["counters"]["opt_step"] == step


@pytest.mark.parametrize("damage", ["torn", "empty", "flipped", "foreign", "gone"])
def test_a_checkpoint_that_does_not_load_gives_way_to_the_one_before(capsys, damage):
    folder = small()
    expected = content(folder)
    cut(folder)
    last = folder.checkpoint("last")
    whole = last.read_bytes()
    middle = whole.index(b"PK", 2000)
    flipped = whole[: middle - 400] + bytes(255 - byte for byte in whole[middle - 400 : middle]) + whole[middle:]
    foreign = io.BytesIO()
    torch.save({"something": os.getcwd}, foreign)  # would need unpickling of code
    kinds = {"torn": whole[: len(whole) // 2], "empty": b"", "flipped": flipped, "foreign": foreign.getvalue()}
    if damage == "gone":
        last.unlink()
    else:
        last.write_bytes(kinds[damage])
    small()
    said = capsys.readouterr().out
    assert "goes on after step 28" in said
    assert ("last.ckpt does not load" in said) == (damage != "gone")
    assert "\n".join(differences(expected, content(folder))) == ""


def test_without_any_checkpoint_a_cut_run_begins_again_in_its_place():
    folder = small()
    expected = content(folder)
    cut(folder)
    shutil.rmtree(folder.path / "checkpoints")
    small()
    assert folder.status["attempt"] == 1
    assert "\n".join(differences(expected, content(folder))) == ""


def test_a_checkpoint_ahead_of_its_rows_is_not_used(capsys):
    folder = small()
    expected = content(folder)
    cut(folder)
    lines = folder.metrics_file.read_text().splitlines(keepends=True)
    folder.metrics_file.write_text("".join(lines[:-5]))
    small()
    assert "ahead of metrics.jsonl" in capsys.readouterr().out
    assert "\n".join(differences(expected, content(folder))) == ""


def test_a_cut_run_of_other_source_is_set_aside_and_said(capsys):
    folder = small()
    cut(folder)
    status = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**status, "source_digest": "older"}))
    small()
    assert "attempt 1 is set aside" in capsys.readouterr().out
    assert folder.status["attempt"] == 2
    assert RunFolder(folder.path / "attempts/1").status["source_digest"] == "older"


def test_a_diverged_run_is_a_result_and_is_not_run_again(capsys):
    words = ["optimizer=sgd", "optimizer.lr=1e30", "model=mlp"]
    folder = small(*words)
    before = folder.metrics_file.stat().st_mtime_ns
    small(*words)
    assert "already diverged" in capsys.readouterr().out
    assert folder.metrics_file.stat().st_mtime_ns == before
    assert folder.status["attempt"] == 1


def test_a_failed_run_goes_on_once_its_cause_is_gone(monkeypatch):
    expected = content(small())
    shutil.rmtree("runs")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("steepest.runs.folder.RunFolder.write_summary", full)
        with pytest.raises(OSError, match="No space"):
            small()
    [path] = Path("runs").glob("r*")
    assert RunFolder(path).status["reason"] == "OSError: [Errno 28] No space left on device"
    folder = small()
    assert [entry["opt_step"] for entry in folder.status["resumed"]] == [34]
    assert "\n".join(differences(expected, content(folder))) == ""


def test_mirrors_in_the_run_folder_are_rebuilt_and_whole(capsys):
    words = ["model=logistic", *LONG[:3], "logger=[csv,tensorboard]"]
    alone, _ = run(words, runs_dir="alone")
    killed, _ = run(words, [200, 100], runs_dir="killed")
    tables = []
    for folder in (alone, killed):
        with (folder.path / "csv/metrics.csv").open() as file:
            rows = [
                {k: v for k, v in row.items() if k not in ("wall_s", "train/examples_per_s")}
                for row in csv.DictReader(file)
            ]
        assert len(rows) == len(folder.rows())
        tables.append(rows)
        assert len(list((folder.path / "tensorboard").glob("events.*"))) <= 2
    assert tables[0] == tables[1]


@pytest.mark.skipif(cores() < 2, reason="two ranks need two cores")
def test_ranks_that_are_told_to_stop_save_together_and_go_on():
    words = ["trainer=ddp_cpu", "model=mlp", "model.dropout=0.3", "batch.size=100", "logger=none"]
    words += ["budget={steps:200,epochs:null}", "checkpoint.every_steps=1", "validation.every=100"]
    alone, _ = run(words, runs_dir="alone")
    process, _ = start([*words, "threads=1", "callbacks=none", "paths.runs_dir=stopped"], None)
    while not list(Path("stopped").glob("r*/checkpoints/last.ckpt")):
        process.join(0.02)
        assert process.is_alive()
    process.terminate()
    process.join()
    assert process.exitcode == 143
    [path] = Path("stopped").glob("r*")
    assert RunFolder(path).status["status"] == "preempted"
    stopped, _ = run(words, runs_dir="stopped")
    [resumed] = stopped.status["resumed"]
    assert 1 <= resumed["opt_step"] < 200
    assert len(content(stopped)["checkpoint"]["run"]["ranks"]) == 2
    assert "\n".join(differences(content(alone), content(stopped))) == ""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_that_is_killed_by_the_clock_again_and_again_ends_the_same(scenario, seed):
    words = [*LONG, *SCENARIOS[scenario]]
    begun = time.monotonic()
    expected = content(run(words, runs_dir="alone")[0])
    seconds = time.monotonic() - begun
    draw = random.Random(f"{scenario} {seed}")
    folder, _ = run(words, [draw.uniform(0.1, 0.8) * seconds for _ in range(12)], runs_dir="killed")
    assert "\n".join(differences(expected, content(folder))) == ""
