"""The straight line, from configuration to run folder, on real data."""

import csv
import json
import math
import re
from pathlib import Path

import pytest
import torch
import wandb
from omegaconf import OmegaConf
from torch import nn
from torch.nn.functional import cross_entropy

from steepest.assemble import assemble
from steepest.config import compose, resolved
from steepest.errors import ConfigError
from steepest.evaluate import evaluate_command, predict_command
from steepest.launchers.machine import settle
from steepest.runs.folder import RunFolder
from steepest.runs.identity import collect, run_id, source_digest
from steepest.runs.wandb_logger import WandbLogger
from steepest.train import identify, train

QUIET = ["callbacks=none", "logger=none", "threads=1"]
SMALL = [*QUIET, "dataset=digits", "model=logistic", "budget.epochs=2"]


def run(*overrides, base=SMALL):
    cfg = compose([*base, *overrides])
    value = train(cfg)
    return value, RunFolder(Path(cfg.paths.runs_dir) / identify_of(cfg))


def identify_of(cfg):
    return run_id(resolved(cfg))


def weights(folder, which="last"):
    state = torch.load(folder.checkpoint(which), weights_only=True)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def rows(folder):
    return [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]


def assembled(*overrides, base=SMALL):
    cfg = compose([*base, *overrides])
    settle(cfg)
    return assemble(cfg)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the default network with W&B offline, for tests that only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        torch.set_num_threads(1)
        cfg = compose(["threads=1", "budget.epochs=6", "callbacks=none", "logger=[wandb,csv,tensorboard]"])
        value = train(cfg)
        wandb.teardown()  # an offline run's file is complete when its writer has ended
        folder = RunFolder((Path(cfg.paths.runs_dir) / identify_of(cfg)).absolute())
        yield value, folder


def test_the_run_folder_is_the_record(finished):
    value, folder = finished
    summary, status = folder.summary, folder.status
    assert {path.name for path in folder.path.iterdir()} == {
        "config.yaml",
        "status.json",
        "metrics.jsonl",
        "summary.json",
        "parameters.csv",
        "checkpoints",
        "log.txt",
        "lock",
        "wandb",
        "csv",
        "tensorboard",
    }
    assert status["status"] == summary["status"] == "finished"
    assert status["attempt"] == 1
    assert summary["run_id"] == folder.path.name
    assert summary["headline"] == {"metric": "val/accuracy", "value": value, "direction": "max"}
    assert summary["opt_steps"] == summary["grad_evals"] == 60
    assert summary["examples"] == 60 * 128
    assert 0 < summary["wall_s"] < 600
    assert summary["metrics"]["test/accuracy"] > 0.7
    config = OmegaConf.to_container(OmegaConf.load(folder.config_file))
    assert config["optimizer"]["lr"] == 0.1
    assert config["choices"]["model"] == "cnn"
    assert config["run"]["name"] == "digits-cnn-sgd_momentum-cosine-s0"


def test_the_metrics_tell_the_whole_story(finished):
    _, folder = finished
    story = rows(folder)
    steps = [row["opt_step"] for row in story]
    assert steps == sorted(steps)
    training = [row for row in story if "train/loss" in row]
    assert [row["opt_step"] for row in training] == [10, 20, 30, 40, 50, 60]
    assert [row["opt_step"] for row in story if "val/loss" in row] == [6, 12, 18, 24, 30, 36, 42, 48, 54, 60]
    assert [row["opt_step"] for row in story if "test/loss" in row] == [60]
    # The learning rate in force at the last of the steps of a row.
    for row in training:
        expected = 0.05 * (1 + math.cos(math.pi * (row["opt_step"] - 1) / 60))
        assert row["lr"] == pytest.approx(expected)
    assert training[-1]["train/loss"] < training[0]["train/loss"]
    walls = [row["wall_s"] for row in story]
    assert walls == sorted(walls)


def test_wandb_holds_configuration_and_curves_offline(finished):
    _, folder = finished
    [file] = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    record = file.read_bytes()
    for text in (b"val/accuracy", b"train/loss", b"weight_decay_form", b"sgd_momentum", b"headline"):
        assert text in record


def test_csv_and_tensorboard_stand_beside_it(finished):
    _, folder = finished
    with (folder.path / "csv" / "metrics.csv").open() as file:
        table = list(csv.DictReader(file))
    accuracies = [float(row["val/accuracy"]) for row in table if row["val/accuracy"]]
    assert accuracies == pytest.approx([row["val/accuracy"] for row in rows(folder) if "val/accuracy" in row])
    assert list((folder.path / "tensorboard").glob("events.*"))


def test_predictions_of_the_last_and_the_best_model_give_their_accuracies(finished, capsys):
    _, folder = finished
    metrics = folder.summary["metrics"]
    for split, which, name in (("test", "last", "test/accuracy"), ("val", "best", "best/val/accuracy")):
        output = Path(f"{split}.csv")
        options = ["--split", split, "--checkpoint", which]
        predict_command([str(folder.path), *options, "--output", str(output)])
        with output.open() as file:
            table = list(csv.DictReader(file))
        right = sum(row["target"] == row["prediction"] for row in table)
        assert right / len(table) == pytest.approx(metrics[name], abs=1e-6)
        assert all(0.1 <= float(row["probability"]) <= 1 for row in table)
        evaluate_command([str(folder.path), *options])
        assert f"{metrics[name]:.6g}" in capsys.readouterr().out


def test_the_best_model_is_kept_beside_the_last(finished):
    _, folder = finished
    metrics = folder.summary["metrics"]
    seen = {row["opt_step"]: row["val/accuracy"] for row in rows(folder) if "val/accuracy" in row}
    assert metrics["best/val/accuracy"] == max(seen.values()) == seen[metrics["best/opt_step"]]
    assert metrics["val/accuracy"] == seen[60]


def bare_loop(parts, steps, total, clip=None):
    """The same training, written with torch alone: its SGD, its cosine, its clipping."""
    model = parts.task.model
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
    loader, done = parts.data.train_dataloader(), 0
    while done < steps:
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            if clip:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            scheduler.step()
            done += 1
            if done == steps:
                break
    return model.state_dict()


@pytest.mark.parametrize("model", ["cnn", "mlp"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_training_equals_a_bare_torch_loop(model, clip):
    overrides = [f"model={model}", "budget.epochs=3", f"clip.norm={clip or 'null'}"]
    _, folder = run(*overrides)
    expected = bare_loop(assembled(*overrides), 30, 30, clip)
    # Not bit for bit: torch computes the cosine recursively, we in closed form.
    torch.testing.assert_close(weights(folder), dict(expected), rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    _, first = run("model=cnn")
    kept = weights(first)
    _, again = run("model=cnn", "force=true")
    _, other = run("model=cnn", "seed=1")
    assert again.path == first.path != other.path
    assert all(torch.equal(value, kept[name]) for name, value in weights(again).items())
    assert not all(torch.equal(value, kept[name]) for name, value in weights(other).items())


@pytest.mark.parametrize("micro", [16, 64, 128])
def test_accumulation_equals_the_large_batch(micro):
    fp64 = ["precision=fp64", "batch.size=128", "budget.steps=15"]
    _, whole = run("batch=mini", *fp64)
    _, parts = run("batch=large", f"batch.micro_size={micro}", *fp64)
    assert parts.summary["opt_steps"] == 15
    assert parts.summary["examples"] == whole.summary["examples"] == 15 * 128
    assert parts.summary["grad_evals"] == 15
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("micro", [100, 431, 1294])
def test_a_full_batch_is_the_mean_over_every_example_once(micro):
    overrides = ["batch=full", f"batch.micro_size={micro}", "precision=fp64", "budget={steps:4,epochs:null}"]
    overrides += ["optimizer=sgd"]
    _, folder = run(*overrides)
    assert folder.summary["examples"] == 4 * 1294
    parts = assembled(*overrides)
    model = parts.task.model.double()
    x, y = (torch.cat(tensors) for tensors in zip(*parts.data.train_dataloader(), strict=True))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * step / 4))
        optimizer.zero_grad()
        cross_entropy(model(x.double()), y).backward()
        optimizer.step()
    torch.testing.assert_close(weights(folder), dict(model.state_dict()), rtol=1e-10, atol=1e-12)


def test_a_single_example_a_step():
    _, folder = run("batch=single", "budget.steps=25")
    assert (folder.summary["opt_steps"], folder.summary["examples"]) == (25, 25)


@pytest.mark.parametrize(("scaling", "lr"), [("linear", 0.05), ("sqrt", 0.1 * math.sqrt(0.5))])
def test_learning_rate_scaling_reaches_the_optimizer(scaling, lr):
    _, folder = run("batch.size=64", f"batch.lr_scaling={scaling}", "schedule=constant", "budget.steps=10")
    assert next(row["lr"] for row in rows(folder) if "lr" in row) == pytest.approx(lr)


@pytest.mark.parametrize(
    ("every", "steps"),
    [("7", [7, 14, 20]), ("0.5", [10, 20]), ("'1 epochs'", [10, 20]), ("1000", [20])],
)
def test_validation_comes_as_often_as_asked_and_at_the_end_once(every, steps):
    _, folder = run(f"validation.every={every}")
    assert [row["opt_step"] for row in rows(folder) if "val/loss" in row] == steps


@pytest.mark.parametrize(
    ("bound", "steps"),
    [("budget.steps=13", 13), ("budget.examples=1000", 8), ("budget.seconds=1e-6", 1), ("budget.epochs=1.5", 15)],
)
def test_the_first_bound_of_the_budget_ends_the_run(bound, steps):
    _, folder = run(bound)
    assert folder.summary["opt_steps"] == steps
    assert rows(folder)[-1]["opt_step"] == steps


def test_one_cycle_moves_the_momentum():
    _, folder = run("schedule=one_cycle", "log.every=1")
    momenta = [row["momentum"] for row in rows(folder) if "momentum" in row]
    assert max(momenta) == pytest.approx(0.95)
    assert min(momenta) == pytest.approx(0.85, abs=0.01)


def test_a_diverged_run_is_a_result():
    value, folder = run("optimizer=sgd", "optimizer.lr=1e30", "model=mlp", "log.every=1")
    assert math.isnan(value)
    assert folder.status["status"] == folder.summary["status"] == "diverged"
    assert folder.summary["headline"]["value"] is None
    assert "at optimizer step" in folder.status["reason"]


def test_a_fault_is_recorded_and_raised(monkeypatch):
    def broken(self, batch):
        raise RuntimeError("the oven is cold")

    monkeypatch.setattr("steepest.tasks.classification.Classification.loss", broken)
    with pytest.raises(RuntimeError, match="oven"):
        run()
    [status] = Path("runs").glob("*/status.json")
    assert json.loads(status.read_text())["reason"] == "RuntimeError: the oven is cold"
    assert "Traceback" in (status.parent / "log.txt").read_text()


def test_a_finished_run_is_not_run_again_unless_forced(capsys):
    value, folder = run()
    before = folder.metrics_file.stat().st_mtime_ns
    assert run()[0] == value
    assert folder.metrics_file.stat().st_mtime_ns == before
    assert "already finished; force=true" in capsys.readouterr().out
    record = json.loads((folder.path / "status.json").read_text())
    (folder.path / "status.json").write_text(json.dumps({**record, "source_digest": "older"}))
    run()
    assert "by other source" in capsys.readouterr().out
    run("force=true")
    assert folder.status["attempt"] == OmegaConf.load(folder.config_file).run.attempt == 2
    aside = RunFolder(folder.path / "attempts" / "1")
    assert aside.status["source_digest"] == "older"
    assert aside.checkpoint("last").is_file()


def test_init_from_starts_at_the_weights_of_a_run():
    _, first = run("model=mlp")
    start = assembled("model=mlp", f"init_from={first.path}", "seed=9").task.model.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in weights(first).items())
    by_id = assembled("model=mlp", f"init_from={first.path.name[:6]}", "seed=9").task.model.state_dict()
    by_file = assembled("model=mlp", f"init_from={first.checkpoint('last')}", "seed=9").task.model.state_dict()
    assert all(torch.equal(start[name], by_id[name]) and torch.equal(start[name], by_file[name]) for name in start)
    train(compose([*SMALL, "model=mlp", f"init_from={first.path}"]))
    assert len(list(Path("runs").glob("*/summary.json"))) == 2


def test_init_from_what_is_no_such_model_is_named():
    _, first = run("model=logistic")
    with pytest.raises(ConfigError, match="weights of another model"):
        run("model=mlp", f"init_from={first.path}")
    with pytest.raises(ConfigError, match="is no run folder"):
        run("init_from=nowhere")
    Path("torn.ckpt").write_bytes(b"PK not a checkpoint")
    with pytest.raises(ConfigError, match=r"torn\.ckpt cannot be read"):
        run("init_from=torn.ckpt")
    assert len(list(Path("runs").iterdir())) == 1


def test_the_id_follows_what_decides_and_nothing_else(monkeypatch):
    def of(*overrides):
        cfg = compose([*SMALL, *overrides])
        settle(cfg)
        return identify_of(cfg)

    base = of()
    same = ["logger=csv", "callbacks=default", "name=hello", "paths.runs_dir=elsewhere", "log.every=3", "force=true"]
    assert {of(word) for word in [*same, "trainer=cpu", "seed=0"]} == {base}
    others = ["seed=1", "threads=2", "optimizer=adam", "optimizer.lr=0.11", "budget.epochs=3", "batch.size=64"]
    others += ["precision=fp64", "schedule=step", "validation.every=5"]
    assert len({base, *map(of, others)}) == 1 + len(others)
    assert all(re.fullmatch("r[0-9a-f]{11}", of(word)) for word in others)
    monkeypatch.setenv("STEEPEST_DATA_DIR", "/elsewhere")
    assert of("dataset=fashion_mnist") == of("dataset=fashion_mnist", "paths.data_dir=here")


def test_the_digest_follows_the_source_that_decides():
    sgd = resolved(compose([*SMALL, "optimizer=sgd"]))
    adam = resolved(compose([*SMALL, "optimizer=adam"]))
    assert source_digest(sgd) == source_digest(sgd)
    assert source_digest(sgd) != source_digest(adam)


def test_parts_that_do_not_fit_say_so_and_leave_no_folder():
    for overrides, said in (
        (["batch.size=5000"], "batch.size=5000 exceeds the training set"),
        (["schedule=warmup_cosine", "schedule.warmup=500"], "schedule.warmup=500"),
        (["schedule=one_cycle", "optimizer=sgd"], "cycles momentum"),
        (["optimizer.lr=-1"], "optimizer.lr=-1 "),
        (["model=vit", "model.patch_size=3"], "patch_size"),
        (["task.label_smoothing=2"], "task.label_smoothing=2"),
        (["trainer=gpu", "trainer.devices=64"], "64 GPU"),
        (["trainer=tpu"], "torch_xla"),
        (["trainer=cpu", "precision=fp16_mixed"], "precision=fp16_mixed needs an NVIDIA GPU"),
        (["optimizer.lr=abc"], "optimizer.lr=abc"),
        (["init_from=/no/such/run"], "'/no/such/run' is no run folder"),
        (["dataset.validation_fraction=0"], "validation"),
        (["model=resnet18", "batch=single"], "model=resnet18 cannot train on batches of 1"),
    ):
        with pytest.raises(ConfigError, match=said):
            run(*overrides)
    assert not Path("runs").exists()


def test_divergence_is_seen_at_a_validation_too():
    _, folder = run("optimizer=sgd", "optimizer.lr=1e30", "model=mlp", "log.every=1000", "validation.every=3")
    assert folder.status["status"] == "diverged"
    assert folder.summary["opt_steps"] == 3
    assert "validation loss" in folder.status["reason"]


def test_time_ends_a_run_between_steps_and_not_within_one():
    overrides = [
        "batch.size=1024",
        "batch.micro_size=8",
        "budget={epochs:null,steps:50,seconds:0.05}",
        "log.every=1000",
    ]
    _, folder = run(*overrides)
    assert 1 <= folder.summary["opt_steps"] < 50
    assert folder.summary["examples"] == 1024 * folder.summary["opt_steps"]


def test_the_training_loss_of_a_full_batch_is_the_mean_over_its_examples():
    overrides = ["batch=full", "batch.micro_size=431", "precision=fp64", "budget={steps:1,epochs:null}"]
    _, folder = run(*overrides)
    assert rows(folder)[0]["train/loss"] == pytest.approx(math.log(10), abs=1e-12)  # a logistic model starts at zero
    _, folder = run(*overrides, "model=mlp", "batch.micro_size=1000")
    parts = assembled(*overrides, "model=mlp")
    x, y = (torch.cat(tensors) for tensors in zip(*parts.data.train_dataloader(), strict=True))
    model = parts.task.model.double()
    assert rows(folder)[0]["train/loss"] == pytest.approx(cross_entropy(model(x.double()), y).item(), abs=1e-12)


def test_the_training_loss_is_averaged_in_more_than_bfloat16():
    constant = ["schedule=constant", "optimizer.lr=0", "precision=bf16_true", "budget={steps:400,epochs:null}"]
    _, often = run(*constant, "model=mlp", "log.every=10")
    losses = [row["train/loss"] for row in rows(often) if "train/loss" in row]
    _, once = run(*constant, "model=mlp", "log.every=400", "force=true")
    [whole] = [row["train/loss"] for row in rows(once) if "train/loss" in row]
    assert whole == pytest.approx(sum(losses) / len(losses), rel=1e-3)


def test_the_id_of_a_start_follows_the_weights_and_not_the_clock():
    _, first = run()
    before = identify({**resolved(compose(SMALL)), "init_from": str(first.path)})
    run("force=true")
    assert identify({**resolved(compose(SMALL)), "init_from": str(first.path)}) == before


def test_the_digest_reaches_modules_imported_by_name():
    modules = {}
    collect("steepest.fit", modules)
    collect("steepest.datasets.huggingface", modules)
    assert {"steepest.datasets.columns", "steepest.callbacks.recorder", "steepest.runs.weights"} <= set(modules)
    assert not {"steepest.callbacks.progress", "steepest.runs.wandb_logger"} & set(modules)


def test_a_mirror_that_breaks_at_the_end_does_not_lose_the_result(monkeypatch):
    finish = WandbLogger.finish

    def broken(self, summary):
        finish(self, summary)
        raise ConnectionError("the server is gone")

    monkeypatch.setattr("steepest.runs.wandb_logger.WandbLogger.finish", broken)
    _, folder = run("logger=wandb")
    assert folder.status["status"] == folder.summary["status"] == "finished"
    assert "the server is gone" in folder.log_file.read_text()


def test_batch_statistics_are_those_of_each_micro_batch_under_accumulation():
    overrides = ["model=mlp", "model.batch_norm=true", "batch=large", "batch.size=128", "batch.micro_size=32"]
    overrides += ["budget={steps:1,epochs:null}"]
    _, folder = run(*overrides)
    parts = assembled(*overrides)
    model, loader = parts.task.model.train(), iter(parts.data.train_dataloader())
    for _ in range(4):
        model(next(loader)[0])
    found, expected = weights(folder), model.state_dict()
    names = [name for name in expected if name.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert names
    for name in names:
        torch.testing.assert_close(found[name], expected[name])


def test_dropout_draws_a_mask_for_each_micro_batch():
    overrides = ["model=mlp", "model.dropout=0.5", "precision=fp64", "optimizer=sgd", "budget={steps:1,epochs:null}"]
    _, whole = run(*overrides, "batch.size=128")
    _, parts = run(*overrides, "batch=large", "batch.size=128", "batch.micro_size=32")
    assert not torch.allclose(next(iter(weights(whole).values())), next(iter(weights(parts).values())))
    # The same without dropout: then only the order of summation differs.
    _, whole = run(*overrides, "model.dropout=0.0", "batch.size=128")
    _, parts = run(*overrides, "model.dropout=0.0", "batch=large", "batch.size=128", "batch.micro_size=32")
    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-10, atol=1e-12)
