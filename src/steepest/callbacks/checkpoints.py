"""Saves what a run needs to go on exactly, keeps the best model, and takes a cut run up again."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from steepest.callbacks.agreement import agreed
from steepest.callbacks.interruption import Interruption
from steepest.callbacks.recorder import train_means
from steepest.runs.folder import RunFolder
from steepest.tasks.counters import Clock
from steepest.tasks.draws import set_xla_states, xla_states


class Checkpoints(pl.Callback):
    """`last.ckpt` (everything) after optimizer steps, `best.ckpt` (weights) when the headline improves.

    A step is saved before each validation, at the end, every so often, and when the run is asked to stop. Saved before
    a validation and not after it, since a validation can be done again; a run cut off in the middle of one does.

    Args:
        folder: the run folder that takes them.
        clock: stands still while they are written.
        interruption: knows whether the run is asked to stop.
        validation_steps: optimizer steps between two validations.
        every_steps: optimizer steps; None: none for that.
        every_seconds: seconds of training; None: none for that.

    Raises:
        Preempted: after saving, if the run is asked to stop.
    """

    def __init__(
        self,
        folder: RunFolder,
        clock: Clock,
        interruption: Interruption,
        validation_steps: int,
        every_steps: int | None,
        every_seconds: float | None,
    ) -> None:
        self.folder, self.clock, self.interruption = folder, clock, interruption
        self.validation_steps, self.every_steps, self.every_seconds = validation_steps, every_steps, every_seconds
        self.best: dict[str, float] = {}
        """The metrics of the best model on validation, with its `opt_step`."""
        self._loaded: dict[str, Any] | None = None
        self._seen_step = 0
        self._saved_at = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The best so far, so that a resumed run does not overwrite it with a worse one."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best so far."""
        self.best = state_dict["best"]

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add the place in the run, and what each rank has for itself."""
        loops = checkpoint["loops"]["fit_loop"]
        count_epochs(loops["epoch_progress"], pl_module)
        # How many validation batches there ever were: with a validation that was begun twice, one more; nobody asks.
        loops["epoch_loop.val_loop.batch_progress"]["total"] = dict.fromkeys(
            loops["epoch_loop.val_loop.batch_progress"]["total"], 0
        )
        means = {name: mean.state_dict() for name, mean in train_means(pl_module).items()}
        own = {"rng": rng_state(), "train_loss": pl_module.train_loss.state_dict(), "train_means": means}
        checkpoint["run"] = {
            "opt_step": pl_module.counters.opt_step,
            "metrics_bytes": self.folder.synced_bytes(),
            "over": trainer.should_stop,
            "ranks": gathered(trainer, own),
        }

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Keep these for the start of training; in between random numbers may be drawn."""
        self._loaded = checkpoint["run"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Of a resumed run: do the validation that was due, then put everything as it was."""
        self._seen_step, self._saved_at = pl_module.counters.opt_step, self.clock.read()
        if self._loaded is None:
            return
        trainer.should_stop = self._loaded["over"]
        if trainer.should_stop or self._seen_step % self.validation_steps == 0:
            validate(trainer)
        own = self._loaded["ranks"][trainer.global_rank]
        pl_module.train_loss.load_state_dict(own["train_loss"])
        for name, mean in train_means(pl_module).items():
            mean.load_state_dict(own["train_means"][name])
        set_rng_state(own["rng"])
        self._loaded = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Save if this step is to be saved; end if the run is asked to."""
        step = pl_module.counters.opt_step
        if step == self._seen_step:
            return  # gradients are still being accumulated
        self._seen_step = step
        late = self.every_seconds is not None and self.clock.read() - self._saved_at >= self.every_seconds
        late, stop = agreed(trainer, late, self.interruption.signal is not None)
        in_turn = self.every_steps is not None and step % self.every_steps == 0
        if late or stop or in_turn or trainer.should_stop or step % self.validation_steps == 0:
            with self.clock.stopped():
                trainer.save_checkpoint(self.folder.checkpoint("last"))
            self._saved_at = self.clock.read()
        if stop:
            raise self.interruption.preempted()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Saves the model if it is the best so far."""
        name, direction = pl_module.headline
        found = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("val/")}
        sign = 1.0 if direction == "max" else -1.0
        if not self.best or not sign * found[name] <= sign * self.best[name]:  # also when the best so far is NaN
            self.best = {**found, "opt_step": pl_module.counters.opt_step}
            with self.clock.stopped():
                trainer.save_checkpoint(self.folder.checkpoint("best"), weights_only=True)


def validate(trainer: pl.Trainer) -> None:
    """A validation before the first step, as Lightning does one after a step."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True


def count_epochs(progress: dict[str, Any], task: Any) -> None:
    """Say that the epoch of the last step is under way.

    Resumed at the end of an epoch, Lightning 2.6 counts one too few from then on, and loses the loader's place when it
    is resumed again.
    """
    done = (task.counters.opt_step - 1) // task.plan.steps_per_epoch
    for counts in progress.values():
        counts.update(ready=done + 1, started=done + 1, processed=done, completed=done)


def rng_state() -> dict[str, Any]:
    """The states of all random number generators, of kinds that load without unpickling code."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "xla": xla_states(),
    }


def set_rng_state(state: dict[str, Any]) -> None:
    """Put all random number generators back."""
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([device.cpu() for device in state["cuda"]])
    set_xla_states(state.get("xla", []))


def gathered(trainer: pl.Trainer, own: dict[str, Any]) -> list[dict[str, Any]]:
    """What every rank has for itself, in the order of ranks."""
    if trainer.world_size == 1:
        return [own]
    found: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(found, own)
    return found
