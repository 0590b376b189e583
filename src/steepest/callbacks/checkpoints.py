"""Keeps the last model and the best."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO

from steepest.runs.files import write_atomically
from steepest.runs.folder import RunFolder


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there, whatever interrupts the write.

    Lightning's own go through the temporary folder, and tore the good file when that lay on another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write beside the target, then rename."""
        write_atomically(Path(path), lambda file: torch.save(checkpoint, file))


class Checkpoints(pl.Callback):
    """`last.ckpt` (everything) at each validation and at the end, `best.ckpt` (weights) when the headline improves.

    Args:
        folder: the run folder that takes them.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.best: dict[str, float] = {}
        """The metrics of the best model on validation, with its `opt_step`."""

    def state_dict(self) -> dict[str, Any]:
        """The best so far, so that a resumed run does not overwrite it with a worse one."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far."""
        self.best = state_dict["best"]

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Saves the last model, and the best if this is it."""
        name, direction = pl_module.headline
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        sign = 1.0 if direction == "max" else -1.0
        if not self.best or not sign * found[name] <= sign * self.best[name]:  # also when the best so far is NaN
            self.best = {**found, "opt_step": pl_module.counters.opt_step}
            trainer.save_checkpoint(self.folder.checkpoint("best"), weights_only=True)
        trainer.save_checkpoint(self.folder.checkpoint("last"))

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Saves the result: the model of the last step."""
        trainer.save_checkpoint(self.folder.checkpoint("last"))
