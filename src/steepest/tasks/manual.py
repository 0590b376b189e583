"""Optimizer steps of tasks that Lightning does not optimise by itself, since they have several losses."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.schedules.driver import apply
from steepest.tasks import closures


def step(
    task: Any,
    optimizer: Any,
    losses: Sequence[Callable[[], Tensor]],
    parameters: Iterable[nn.Parameter],
    divergence: Callable[[], tuple[Tensor, Tensor]] | None = None,
) -> Tensor:
    """One step of an optimizer on the mean of the losses, at the schedule's learning rate for `counters.opt_step`.

    Gradients are accumulated over the losses one by one, for these parameters alone, and clipped by `task.clip`; the
    callbacks see them before. One more is added to `counters.grad_evals`, but `opt_step` is left to the task.

    Args:
        task: the LightningModule, with `schedule`, `total_steps`, `counters` and `clip` (arguments of
            `clip_gradients`).
        optimizer: one of `task.optimizers()`.
        losses: each the loss of a micro-batch, a scalar with its graph; of equal weight. An optimizer that evaluates
            the loss itself gets the first.
        parameters: those of the optimizer.
        divergence: the first loss, and a divergence from the present predictions, for natural gradient.

    Returns:
        The mean loss, detached.
    """
    apply(task.schedule, optimizer, task.counters.opt_step, task.total_steps)
    inputs = list(parameters)

    taken: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        found = []
        for loss in losses:
            value = loss()
            task.manual_backward(value / len(losses), inputs=inputs)
            found.append(value.detach())
        taken.append(torch.stack(found).mean())
        return taken[-1]

    task.counters.grad_evals += 1
    if closures.evaluates_loss(optimizer):
        evaluate = divergence if getattr(optimizer, "needs_divergence", False) else losses[0]
        closures.step(task, optimizer, closure, evaluate)
    else:
        task.trainer.strategy.optimizer_step(Clipped(task, optimizer.optimizer), closure)
    return taken[0]


class Clipped:
    """An optimizer as Lightning's strategy steps it, that clips between the callbacks' look and the update."""

    def __init__(self, task: Any, optimizer: Optimizer) -> None:
        self.task, self.optimizer = task, optimizer
        self.param_groups = optimizer.param_groups

    def step(self, closure: Callable[[], Any] | None = None) -> None:
        """Backward passes, clipping, update; without a closure (fp16) the first is done already."""
        if closure is not None:
            closure()
        if self.task.clip.get("gradient_clip_val"):
            self.task.clip_gradients(self.optimizer, **self.task.clip)
        self.optimizer.step()
