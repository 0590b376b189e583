"""The progress bar."""

import sys
from typing import Any

import pytorch_lightning as pl
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(bar_width=30),
    MofNCompleteColumn(),
    TextColumn("steps"),
    TimeRemainingColumn(compact=True),
    TextColumn("{task.fields[values]}"),
)


class ProgressBar(pl.Callback):
    """A bar over the optimizer steps with the latest loss and headline; nothing where the output is no terminal.

    Args:
        refresh_per_second: how often it is drawn.
    """

    def __init__(self, refresh_per_second: float = 5.0) -> None:
        self.bar = Progress(*COLUMNS, refresh_per_second=refresh_per_second, transient=True)
        self.row: TaskID | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Shows the bar."""
        if sys.stdout.isatty() and trainer.is_global_zero:
            self.bar.start()
            self.row = self.bar.add_task("training", total=pl_module.total_steps, values="")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Moves the bar; it draws itself from a thread of its own."""
        if self.row is not None:
            self.bar.tasks[0].completed = pl_module.counters.opt_step

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Shows the headline's latest value."""
        if self.row is not None:
            name, _ = pl_module.headline
            self.bar.update(self.row, values=f"{name} {float(trainer.callback_metrics[name]):.4f}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Takes the bar away."""
        self.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Takes the bar away, so that what went wrong can be read."""
        self.stop()

    def stop(self) -> None:
        """Takes the bar away, if it was shown."""
        if self.row is not None:  # rich prints an empty line for a bar that never began
            self.bar.stop()
