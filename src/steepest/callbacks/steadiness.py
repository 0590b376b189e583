"""How far each gradient goes on in the direction of the one before: the noise of updates at any size of batch."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from steepest.callbacks.diagnostics import recorder_of
from steepest.tasks.counters import RunningMean
from steepest.tasks.values import at_least_float


class Steadiness(pl.Callback):
    """Writes `train/gradient_cosine`: the mean, since the last such row, of the cosine of successive gradients.

    It is near 1 where gradients have no noise and the steps are small, near 0 where noise hides the gradient, and below
    0 where steps overshoot. It keeps a copy of the last gradient; a resumed run begins with none.

    Args:
        every: optimizer steps between two rows; the last step of the run has one too.
    """

    def __init__(self, every: int = 10) -> None:
        self.every = every
        self.mean = RunningMean()
        self._last: Tensor | None = None
        self._seen = 0

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Compare the gradient with the last one; of several in a step (closures), the first counts."""
        step = pl_module.counters.opt_step + 1
        if step == self._seen:
            return
        self._seen = step
        found = [p.grad for p in pl_module.parameters() if p.grad is not None and not p.grad.is_sparse]
        if not found:
            return
        gradient = torch.cat([at_least_float(g).flatten() for g in found])
        if self._last is not None and self._last.shape == gradient.shape:
            self.mean.add(torch.cosine_similarity(gradient, self._last, dim=0))
        self._last = gradient

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a row where one is due."""
        step, recorder = pl_module.counters.opt_step, recorder_of(trainer)
        if step != self._seen or (step % self.every and step != pl_module.total_steps):
            return
        if self.mean.count and recorder is not None:
            recorder.write(trainer, pl_module, {"train/gradient_cosine": self.mean.take()})
