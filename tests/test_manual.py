"""Optimizer steps of tasks that Lightning does not optimise by itself."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from steepest.datasets.turns import Turns
from steepest.optimizers.newton import Newton
from steepest.optimizers.sgd import SGD
from steepest.tasks import manual
from steepest.tasks.counters import Counters
from steepest.tasks.quick import QuickHooks

STEPS = 4
SMALL_STEPS = partial(SGD, lr=0.1)


class Two(QuickHooks, pl.LightningModule):
    """Two networks with a loss each, of which the second also depends on the first."""

    def __init__(self, data, chunks=1, clip=None, factory=SMALL_STEPS):
        super().__init__()
        self.automatic_optimization = False
        self.model = nn.ModuleDict({"first": nn.Linear(3, 1).double(), "second": nn.Linear(1, 1).double()})
        self.data, self.chunks, self.clip, self.factory = data, chunks, clip or {}, factory
        self.schedule = Halving()
        self.total_steps, self.counters = STEPS, Counters()
        self.losses = []

    def configure_optimizers(self):
        return [self.factory(network.parameters()) for network in self.model.values()]

    def first_loss(self, x, y):
        return (self.model["first"](x) - y).square().mean()

    def second_loss(self, x, y):
        return (self.model["second"](self.model["first"](x)) + y).square().mean()

    def training_step(self, batch, batch_idx):
        parts = list(zip(*(t.chunk(self.chunks) for t in self.data), strict=True))
        for optimizer, loss, network in zip(
            self.optimizers(), (self.first_loss, self.second_loss), self.model.values(), strict=True
        ):
            losses = [partial(loss, x, y) for x, y in parts]
            self.losses.append(manual.step(self, optimizer, losses, network.parameters()))
        self.counters.opt_step += 1


class Halving:
    """Half the learning rate at every step."""

    def multiplier(self, step, total):
        return 0.5**step

    def momentum(self, step, total):
        return None


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    return x, torch.randn(12, 1, generator=generator, dtype=torch.float64)


def trained(task, callbacks=()):
    torch.manual_seed(1)
    for parameter in task.parameters():
        nn.init.normal_(parameter)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks],
    )
    trainer.fit(task, Turns(STEPS))
    return task


def by_hand(clip=None):
    """The same in plain torch."""
    task = Two(data())
    torch.manual_seed(1)
    for parameter in task.parameters():
        nn.init.normal_(parameter)
    x, y = data()
    losses = []
    for step in range(STEPS):
        for loss, network in ((task.first_loss, task.model["first"]), (task.second_loss, task.model["second"])):
            value = loss(x, y)
            gradients = torch.autograd.grad(value, list(network.parameters()))
            norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
            factor = min(1.0, clip / float(norm)) if clip else 1.0
            with torch.no_grad():
                for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                    parameter -= 0.1 * 0.5**step * factor * gradient
            losses.append(value.detach())
    return task, losses


@pytest.mark.parametrize("chunks", [1, 3, 12])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_steps_are_those_of_a_plain_loop_however_the_batch_is_cut(chunks, clip):
    options = {"gradient_clip_val": clip, "gradient_clip_algorithm": "norm"}
    task = trained(Two(data(), chunks, options))
    expected, losses = by_hand(clip)
    for found, parameter in zip(task.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(found, parameter, rtol=1e-5 if clip else 1e-12, atol=1e-12)
    torch.testing.assert_close(torch.stack(task.losses), torch.stack(losses), rtol=1e-5 if clip else 1e-12, atol=0.0)
    assert task.counters.grad_evals == 2 * STEPS


def test_callbacks_see_the_gradient_before_it_is_clipped():
    seen = []

    class Look(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
            seen.append(torch.cat([g.flatten() for g in gradients]).norm())

    trained(Two(data(), 1, {"gradient_clip_val": 1e-6, "gradient_clip_algorithm": "norm"}), [Look()])
    assert len(seen) == 2 * STEPS
    assert min(seen) > 1e-3


def test_the_second_loss_leaves_the_first_network_alone():
    task = trained(Two(data(), factory=partial(SGD, lr=0.0)))
    assert all(p.grad is not None for p in task.parameters())
    x, y = data()
    gradient = torch.autograd.grad(task.first_loss(x, y), task.model["first"].weight)[0]
    torch.testing.assert_close(task.model["first"].weight.grad, gradient)


def test_an_optimizer_that_evaluates_the_loss_gets_it():
    task = trained(Two(data(), factory=partial(Newton, lr=1.0, damping=0.0)))
    x, y = data()
    ones = torch.cat([x, torch.ones(12, 1, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(ones, y).solution
    best = (ones @ solution - y).square().mean()
    assert float(task.first_loss(x, y)) == pytest.approx(float(best), rel=1e-9)
    assert task.counters.grad_evals > 2 * STEPS
    assert isinstance(task.optimizers()[0].optimizer, Newton)


@given(count=st.integers(1, 6), taken=st.integers(0, 20))
def test_turns_go_on_where_they_were(count, taken):
    whole, cut = Turns(count), Turns(count)

    def take(turns, number):
        """The sizes of epochs as they are left behind, after so many turns."""
        sizes = []
        while number > 0:
            size = 0
            for _ in turns:
                size += 1
                number -= 1
                if not number:
                    break
            sizes.append(size)
        return sizes

    take(cut, taken)
    resumed = Turns(count)
    resumed.load_state_dict(cut.state_dict())
    assert take(resumed, count - taken % count) == [count - taken % count]
    assert take(whole, 2 * count) == [count, count]
