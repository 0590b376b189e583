"""The steps of tasks with one loss, which Lightning optimises by itself."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from steepest.schedules.driver import apply
from steepest.tasks import closures


class Descent:
    """Mix-in for tasks, to stand first: from `loss(batch)` to optimizer steps, and what was spent on them.

    The task has `loss`, `model`, `optimizer`, `schedule`, `total_steps`, `plan`, `counters`, `train_loss`,
    `keeps_batch` and `batch`.
    """

    batch: Any
    keeps_batch: bool

    def training_step(self: Any, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of one micro-batch; Lightning divides by the number of micro-batches of a step."""
        loss, plan = self.loss(batch), self.plan
        if self.keeps_batch:
            self.batch = batch
        if plan.exact:  # micro-batches may differ by one in size; loss and gradient are still means over all examples
            loss = loss * (len(batch[0]) * plan.accumulate * self.trainer.world_size / plan.size)
        self.counters.grad_evals += batch_idx % plan.accumulate == 0
        self.train_loss.add(loss.detach())
        return loss

    def optimizer_step(
        self: Any, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """One update at the schedule's learning rate, which depends on nothing but the step's number."""
        apply(self.schedule, optimizer, self.counters.opt_step, self.total_steps)
        if closures.evaluates_loss(optimizer):
            closures.step(self, optimizer, optimizer_closure)
        else:
            optimizer.step(closure=optimizer_closure)
        self.counters.opt_step += 1
        self.counters.examples += self.plan.size

    def configure_optimizers(self: Any) -> Optimizer:
        """The optimizer alone; the schedule is a function of the step (see `optimizer_step`)."""
        optimizer = self.optimizer(self.model)
        self.keeps_batch = closures.evaluates_loss(optimizer)
        return optimizer

    def on_save_checkpoint(self: Any, checkpoint: dict[str, Any]) -> None:
        """Keeps what was spent."""
        checkpoint["counters"] = self.counters.state_dict()

    def on_load_checkpoint(self: Any, checkpoint: dict[str, Any]) -> None:
        """Goes on counting from there."""
        self.counters.load_state_dict(checkpoint["counters"])
