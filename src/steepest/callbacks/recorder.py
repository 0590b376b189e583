"""Writes the metrics and keeps the budget."""

import math
from typing import Any

import pytorch_lightning as pl
import torch

from steepest.callbacks.agreement import agreed
from steepest.callbacks.norms import Norms
from steepest.runs.folder import Diverged, RunFolder
from steepest.tasks.counters import Clock, RunningMean


class Recorder(pl.Callback):
    """One row every few steps and one a validation, to the run folder first and to every logger after it.

    It logs from here and not by `self.log` in each step, which costs 0.3 ms a call.

    Args:
        folder: takes the rows.
        clock: measures training, and stands still during validation.
        every: optimizer steps between two rows of training.
        total_steps: the run ends with this step.
        steps_per_epoch: optimizer steps per epoch.
        seconds: the run ends with the step that exceeds this training time; None never does.
        norms: adds what it measured to the rows; None: nothing.

    Raises:
        Diverged: the training loss of a row, or a validation loss, is not finite.
    """

    def __init__(
        self,
        folder: RunFolder,
        clock: Clock,
        every: int,
        total_steps: int,
        steps_per_epoch: int,
        seconds: float | None,
        norms: Norms | None,
    ) -> None:
        self.folder, self.clock, self.every, self.seconds = folder, clock, every, seconds
        self.total_steps, self.steps_per_epoch, self.norms = total_steps, steps_per_epoch, norms
        self.metrics: dict[str, float] = {}
        """The latest value of every metric, by name."""
        self._row_started = 0.0
        self._seen_step = self._row_examples = 0

    def state_dict(self) -> dict[str, Any]:
        """The latest metrics, and where the next row begins."""
        return {"metrics": self.metrics, "row_started": self._row_started, "row_examples": self._row_examples}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.metrics = state_dict["metrics"]
        self._row_started, self._row_examples = state_dict["row_started"], state_dict["row_examples"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Starts the clock."""
        self._seen_step = pl_module.counters.opt_step
        self.clock.start()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After each optimizer step: ends the run where the budget does, writes a row where one is due."""
        step = pl_module.counters.opt_step
        if step == self._seen_step:
            return  # gradients are still being accumulated
        self._seen_step = step
        over = step >= self.total_steps or (self.seconds is not None and self._time_is_up(trainer, self.seconds))
        if over:
            trainer.should_stop = True
        if over or step % self.every == 0:
            self._training_row(trainer, pl_module)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stops the clock: evaluation is no training."""
        self.clock.stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes what the validation found."""
        self.evaluation_row(trainer, pl_module, "val")
        refuse_nonfinite("validation", self.metrics.get("val/loss", 0.0), pl_module.counters.opt_step)
        self.clock.start()

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Stops the clock."""
        self.clock.stop()

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Writes what the test found."""
        self.evaluation_row(trainer, pl_module, "test")

    def evaluation_row(self, trainer: pl.Trainer, task: Any, split: str) -> None:
        """A row with the task's averages over a split."""
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith(f"{split}/")}
        self.write(trainer, task, found)

    def write(self, trainer: pl.Trainer, task: Any, values: dict[str, float]) -> None:
        """Add a row. Its values are the metrics' latest, but for those of single layers, which are many."""
        self.metrics.update({name: value for name, value in values.items() if not name.startswith("layers/")})
        if trainer.is_global_zero:
            epoch = task.counters.opt_step / self.steps_per_epoch
            row = {**task.counters.state_dict(), "epoch": epoch, **values}
            self.folder.append(row)
            for logger in trainer.loggers:
                logger.log_metrics(row, step=task.counters.opt_step)

    def _training_row(self, trainer: pl.Trainer, task: Any) -> None:
        counters = task.counters
        seconds = self.clock.read() - self._row_started
        loss = task.train_loss.take()
        if trainer.world_size > 1:  # all ranks see the mean over all, and so stop together
            share = torch.tensor(loss, dtype=torch.float64, device=task.device)
            loss = float(trainer.strategy.reduce(share, reduce_op="mean"))
        means = {name: mean.take() for name, mean in train_means(task).items()}
        row = {"train/loss": loss, **{f"train/{name}": mean for name, mean in means.items() if not math.isnan(mean)}}
        row |= {**rates(trainer), **(self.norms.take() if self.norms else {})}
        if seconds > 0:
            row["train/examples_per_s"] = (counters.examples - self._row_examples) / seconds
        self._row_examples, self._row_started = counters.examples, counters.wall_s
        self.write(trainer, task, row)
        refuse_nonfinite("training", loss, counters.opt_step)

    def _time_is_up(self, trainer: pl.Trainer, seconds: float) -> bool:
        [up] = agreed(trainer, self.clock.read() >= seconds)
        return up


def train_means(task: Any) -> dict[str, RunningMean]:
    """What a task averages in training beside its loss; not all of it is found between every two rows."""
    return getattr(task, "train_means", {})


def refuse_nonfinite(which: str, loss: float, step: int) -> None:
    """Raise Diverged for a loss that is no longer a number."""
    if not math.isfinite(loss):
        raise Diverged(f"the {which} loss is {loss} at optimizer step {step}")


def rates(trainer: pl.Trainer) -> dict[str, float]:
    """The learning rate (and momentum, where there is one) of the first parameter group."""
    group = trainer.optimizers[0].param_groups[0]
    found = {"lr": group["lr"]}
    if "momentum" in group:
        found["momentum"] = group["momentum"]
    elif "betas" in group:
        found["momentum"] = group["betas"][0]
    return found
