"""Steps of optimizers that evaluate the loss themselves (L-BFGS, Newton, natural gradient)."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def evaluates_loss(optimizer: Any) -> bool:
    """Whether the optimizer's step needs a closure that keeps the graph of the loss."""
    return getattr(optimizer, "reach", None) == "closure"


def step(task: Any, optimizer: Any, closure: Callable[[], Any] | None) -> None:
    """One step by an optimizer that evaluates the loss as often as it likes, on the batch that `closure` leaves behind.

    Lightning's closure is run once, for what hangs on it: the mean loss, the counters, the callbacks. It gives a loss
    without graph, so the optimizer is given one of our own. That is a fixed function of the parameters: every
    evaluation has the same dropout, and the running statistics of batch normalisation move once a step.
    """
    assert closure is not None
    task.trainer.strategy.optimizer_step(Alone(task, optimizer.optimizer), closure)


class Alone:
    """An optimizer as Lightning's strategy steps it, that runs Lightning's closure once and steps by its own."""

    def __init__(self, task: Any, optimizer: Optimizer) -> None:
        self.task, self.optimizer = task, optimizer
        self.param_groups = optimizer.param_groups

    def step(self, closure: Callable[[], Any]) -> Any:
        """Both, one after the other."""
        loss = closure()
        buffers = [buffer.clone() for buffer in self.task.buffers()]
        self.optimizer.step(BatchLoss(self.task, self.optimizer))
        self.task.batch = None
        with torch.no_grad():
            for buffer, kept in zip(self.task.buffers(), buffers, strict=True):
                buffer.copy_(kept)
        return loss


class BatchLoss:
    """The training loss of the task's batch as a function of the parameters, with its graph."""

    def __init__(self, task: Any, optimizer: Any) -> None:
        self.task = task
        self.evaluate = task.loss_and_divergence if optimizer.needs_divergence else task.loss
        self._devices = [task.device] if task.device.type == "cuda" else []

    def __call__(self) -> Any:
        """The loss, or the loss and the divergence from the model's present predictions."""
        self.task.counters.grad_evals += 1
        # The fork puts the random numbers back, so that every evaluation begins with the same.
        with torch.random.fork_rng(self._devices), self.task.trainer.precision_plugin.train_step_context():
            return self.evaluate(self.task.batch)
