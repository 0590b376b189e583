"""Gradient and update norms, against sums of squares in float64."""

import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from steepest.callbacks import norms as module
from steepest.callbacks.moves import Moves
from steepest.callbacks.norms import Norms, total_norm
from steepest.config import compose
from steepest.launchers.machine import cores
from steepest.optimizers.sgd import SGD
from steepest.runs.folder import RunFolder
from steepest.train import train

BASE = ["dataset=digits", "model=mlp", "threads=1", "logger=none", "callbacks=none", "budget.epochs=null"]


class Line(pl.LightningModule):
    """A linear model with squared error, whose gradients can be worked out by hand."""

    def __init__(self, total_steps, optimizer=torch.optim.SGD, dtype=torch.float32):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(3, generator=generator).to(dtype))
        self.unused = nn.Parameter(torch.ones(2, dtype=dtype))
        self.total_steps, self.make = total_steps, optimizer
        self.counters = SimpleNamespace(opt_step=0)
        self.history = [self.weight.detach().clone()]

    def training_step(self, batch, batch_idx):
        x, y = batch
        return ((x @ self.weight - y) ** 2).mean()

    def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
        optimizer.step(closure=optimizer_closure)
        self.counters.opt_step += 1
        self.history.append(self.weight.detach().clone())

    def configure_optimizers(self):
        return self.make(self.parameters(), lr=0.1)


class Taker(pl.Callback):
    """Stands where the recorder does."""

    def __init__(self, norms):
        self.norms, self.rows, self.seen = norms, {}, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.counters.opt_step != self.seen:
            self.seen = pl_module.counters.opt_step
            self.rows[self.seen] = self.norms.take()


def batches(count, dtype=torch.float32):
    generator = torch.Generator().manual_seed(2)
    return [
        (torch.randn(4, 3, generator=generator).to(dtype), torch.randn(4, generator=generator).to(dtype))
        for _ in range(count)
    ]


def fitted(model, data, every, **options):
    taker = Taker(Norms(every))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[taker.norms, taker],
        **options,
    )
    trainer.fit(model, DataLoader(data, batch_size=None))
    return taker.rows


def by_hand(weight, parts):
    """The norm of the gradient of the mean squared error over micro-batches, in float64."""
    weight = weight.double()
    total = torch.zeros(3, dtype=torch.float64)
    for x, y in parts:
        x, y = x.double(), y.double()
        total += 2 * x.T @ (x @ weight - y) / len(y) / len(parts)
    return math.sqrt(float((total**2).sum()))


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_norms_are_of_the_joint_gradient_before_clipping_and_of_the_move_after_it(accumulate, clip):
    data = batches(4 * accumulate)
    model = Line(total_steps=4)
    rows = fitted(model, data, 1, accumulate_grad_batches=accumulate, gradient_clip_val=clip)
    assert sorted(rows) == [1, 2, 3, 4]
    for step, row in rows.items():
        parts = data[(step - 1) * accumulate : step * accumulate]
        gradient = by_hand(model.history[step - 1], parts)
        assert row["train/grad_norm"] == pytest.approx(gradient, rel=1e-5)
        assert row["train/grad_norm"] > 0.01
        move = float((model.history[step].double() - model.history[step - 1].double()).norm())
        assert row["train/update_norm"] == pytest.approx(move, rel=1e-5)
        assert row["train/update_norm"] == pytest.approx(0.1 * (clip or gradient), rel=1e-3)


def test_only_steps_with_a_row_are_measured(monkeypatch):
    called = Counter()
    monkeypatch.setattr(module, "total_norm", lambda tensors: called.update(["norm"]) or torch.zeros(()))
    rows = fitted(Line(total_steps=7), batches(7), 3)
    assert [step for step, row in rows.items() if row] == [3, 6, 7]
    assert called["norm"] == 2 * 3


def test_what_was_measured_is_given_once():
    norms, model = Norms(1), Line(total_steps=1)
    model.weight.grad = torch.tensor([3.0, 0.0, 4.0])
    norms.on_before_optimizer_step(None, model, torch.optim.SGD(model.parameters(), lr=0.1))
    with torch.no_grad():
        model.weight += torch.tensor([0.0, 5.0, 12.0])
    norms.on_train_batch_end(None, model, None, None, 0)
    assert norms.take() == {"train/grad_norm": 5.0, "train/update_norm": pytest.approx(13.0)}
    assert norms.take() == {}


def test_of_several_gradients_a_step_the_first_is_measured():
    data = batches(2)
    model = Line(total_steps=2, optimizer=lambda parameters, lr: torch.optim.LBFGS(parameters, lr=lr, max_iter=4))
    rows = fitted(model, data, 1)
    for step, row in rows.items():
        assert row["train/grad_norm"] == pytest.approx(
            by_hand(model.history[step - 1], data[step - 1 : step]), rel=1e-5
        )
        move = float((model.history[step].double() - model.history[step - 1].double()).norm())
        assert row["train/update_norm"] == pytest.approx(move, rel=1e-5)


def test_low_precision_is_measured_in_float32():
    many = torch.full((100_000,), 300.0, dtype=torch.float16)
    assert float(total_norm([many])) == pytest.approx(300 * math.sqrt(100_000), rel=1e-5)  # above float16's largest
    norms = Norms(1)
    model = Line(total_steps=1, dtype=torch.bfloat16)
    model.weight.grad = torch.full((3,), 1.0, dtype=torch.bfloat16)
    with torch.no_grad():
        model.weight.fill_(1.0)
        norms.on_before_optimizer_step(None, model, torch.optim.SGD(model.parameters(), lr=0.1))
        model.weight.fill_(1.0078125)  # the next number in bfloat16
    norms.on_train_batch_end(None, model, None, None, 0)
    found = norms.take()
    assert found == {"train/grad_norm": pytest.approx(3**0.5), "train/update_norm": pytest.approx(3**0.5 / 128)}


def test_float64_stays_float64():
    tensor = torch.tensor([1.0, 1e-9], dtype=torch.float64)
    assert float(total_norm([tensor, tensor])) == pytest.approx(2**0.5, rel=1e-15)
    assert total_norm([tensor]).dtype == torch.float64


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-100, 100, width=32)), min_size=1, max_size=12))
def test_rows_that_come_twice_in_a_sparse_gradient_count_as_their_sum(entries):
    rows, values = zip(*entries, strict=True)
    values_of_rows = torch.tensor(values)[:, None].repeat(1, 2)
    sparse = torch.sparse_coo_tensor(torch.tensor([rows]), values_of_rows, (5, 2), check_invariants=True)
    dense = torch.zeros(5, 2, dtype=torch.float64)
    for row, value in entries:
        dense[row] += value
    assert float(total_norm([sparse])) == pytest.approx(float(dense.norm()), rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("make", [torch.optim.SGD, SGD])
def test_a_module_with_sparse_gradients_is_measured(make):
    norms = Norms(1)
    model = nn.Embedding(6, 2, sparse=True)
    model.counters, model.total_steps = SimpleNamespace(opt_step=0), 1
    model(torch.tensor([1, 1, 4])).sum().backward()
    optimizer = make(model.parameters(), lr=0.5)
    norms.on_before_optimizer_step(None, model, optimizer)
    optimizer.step()
    norms.on_train_batch_end(None, model, None, None, 0)
    expected = math.sqrt(2 * 2**2 + 2 * 1**2)  # row 1 came twice
    assert norms.take() == {
        "train/grad_norm": pytest.approx(expected),
        "train/update_norm": pytest.approx(expected / 2, rel=1e-5),
    }


def test_of_a_table_with_sparse_gradients_only_the_rows_that_can_move_are_copied():
    model = nn.Embedding(1000, 2, sparse=True)
    model(torch.tensor([7, 7, 400])).sum().backward()
    for optimizer, copied in (
        (SGD(model.parameters(), lr=0.5), 2),
        (torch.optim.SGD(model.parameters(), lr=0.5), 1000),
    ):
        moves = Moves()
        moves.look(optimizer)
        [kept] = moves.kept.values()
        assert len(kept.before) == copied


def test_a_step_of_two_optimizers_is_measured_as_a_whole():
    norms = Norms(1)
    model = nn.ParameterDict({name: nn.Parameter(torch.zeros(2)) for name in ("generator", "discriminator")})
    model.counters, model.total_steps = SimpleNamespace(opt_step=0), 1
    for name, gradient in (("discriminator", [3.0, 0.0]), ("generator", [0.0, 4.0])):
        optimizer = torch.optim.SGD([model[name]], lr=0.5)
        for scale in (1.0, 100.0):  # of two steps of one network the first gradient counts, and the whole move
            model[name].grad = torch.tensor(gradient) * scale
            norms.on_before_optimizer_step(None, model, optimizer)
            optimizer.step()
    norms.on_train_batch_end(None, model, None, None, 0)
    assert norms.take() == {
        "train/grad_norm": pytest.approx(5.0),
        "train/update_norm": pytest.approx(0.5 * 101 * 5.0),
    }


def test_no_gradient_at_all_has_norm_zero():
    assert float(total_norm([])) == 0.0


def run(*overrides):
    before = set(Path("runs").glob("*"))
    train(compose([*BASE, *overrides]))
    [path] = set(Path("runs").glob("*")) - before
    return RunFolder(path.absolute())


def rows_of(folder):
    found = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    return [row for row in found if "train/loss" in row]


def test_a_run_is_the_same_with_norms_and_without(monkeypatch, tmp_path):
    words = ["budget.steps=12", "log.every=5", "optimizer=adam", "clip.norm=0.1", "batch.micro_size=64"]
    without = run(*words, "log.norms=false")
    monkeypatch.chdir(tmp_path / "runs")
    measured = run(*words, "log.norms=true")
    weights = [torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"] for folder in (without, measured)]
    torch.testing.assert_close(weights[1], weights[0], rtol=0, atol=0)
    names = {"train/grad_norm", "train/update_norm"}
    for bare, row in zip(rows_of(without), rows_of(measured), strict=True):
        assert names <= row.keys()
        assert not names & bare.keys()
        assert row["train/loss"] == bare["train/loss"]


@pytest.mark.skipif(cores() < 2, reason="two ranks need two cores")
def test_two_ranks_with_sharded_parameters_measure_what_one_does():
    words = ["budget.steps=4", "log.every=2", "batch.size=100", "optimizer.lr=0.01"]
    alone, together = rows_of(run(*words)), rows_of(run(*words, "trainer=fsdp2", "trainer.accelerator=cpu"))
    assert [row["opt_step"] for row in together] == [2, 4]
    for one, two in zip(alone, together, strict=True):
        for name in ("train/grad_norm", "train/update_norm"):
            assert two[name] == pytest.approx(one[name], rel=1e-4)
