"""Steps of optimizers that evaluate the loss themselves (L-BFGS, Newton, natural gradient)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from steepest.tasks.draws import put_back


def evaluates_loss(optimizer: Any) -> bool:
    """Whether the optimizer's step needs a closure that keeps the graph of the loss."""
    return getattr(optimizer, "reach", None) == "closure"


def step(
    task: Any, optimizer: Any, closure: Callable[[], Any] | None, evaluate: Callable[[], Any] | None = None
) -> None:
    """One step by an optimizer that evaluates the loss as often as it likes, on the batch that `closure` leaves behind.

    The closure is run once, for what hangs on it: the mean loss, the counters, the callbacks. Lightning's gives a loss
    without graph, so the optimizer is given one of our own. That is a fixed function of the parameters: every
    evaluation has the same dropout, and the running statistics of batch normalisation move once a step.

    Args:
        task: the LightningModule.
        optimizer: as the task has it from Lightning.
        closure: a forward and a backward pass.
        evaluate: the loss with its graph, or the loss and the divergence where the optimizer needs that; None: the
            task's `loss` or `loss_and_divergence` of the batch that it kept.
    """
    assert closure is not None
    task.trainer.strategy.optimizer_step(Alone(task, optimizer.optimizer, evaluate), closure)


class Alone:
    """An optimizer as Lightning's strategy steps it, that runs the closure once and steps by its own."""

    def __init__(self, task: Any, optimizer: Any, evaluate: Callable[[], Any] | None) -> None:
        self.task, self.optimizer, self.evaluate = task, optimizer, evaluate
        self.param_groups = optimizer.param_groups

    def step(self, closure: Callable[[], Any]) -> Any:
        """Both, one after the other."""
        task: Any = self.task
        loss = closure()
        evaluate = self.evaluate
        if evaluate is None:
            evaluate = partial(task.loss_and_divergence if self.optimizer.needs_divergence else task.loss, task.batch)
        buffers = [buffer.clone() for buffer in task.buffers()]
        self.optimizer.step(Loss(task, evaluate))
        task.batch = None
        with torch.no_grad():
            for buffer, kept in zip(task.buffers(), buffers, strict=True):
                buffer.copy_(kept)
        return loss


class Loss:
    """The training loss of one batch as a function of the parameters, with its graph."""

    def __init__(self, task: Any, evaluate: Callable[[], Any]) -> None:
        self.task, self.evaluate = task, evaluate

    def __call__(self) -> Any:
        """The loss, or the loss and the divergence from the model's present predictions."""
        self.task.counters.grad_evals += 1
        # So that every evaluation begins with the same random numbers.
        with put_back(self.task.device), self.task.trainer.precision_plugin.train_step_context():
            return self.evaluate()
