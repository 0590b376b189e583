"""How large gradients and updates are."""

from collections.abc import Iterable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from steepest.callbacks.moves import Moves, at_least_float


class Norms(pl.Callback):
    """Measures gradient and update at the steps that get a row, and does nothing at the others.

    It stands before the recorder, which takes what was measured into its row.

    `train/grad_norm` is the Euclidean norm of the whole gradient g_t before clipping, over all parameters and devices;
    where an optimizer evaluates several gradients a step, of the first; where a step is of several optimizers, each
    with its own parameters, over all of these. `train/update_norm` is that of x_t - x_{t-1}, for which the parameters
    are copied during the step (of a table with sparse gradients, the rows that can move).

    Args:
        every: optimizer steps between two rows; the last step of the run has one too.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._moves: Moves | None = None
        self._gradients: list[Tensor] = []
        self._found: dict[str, Tensor] = {}

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Measure the gradient, and keep the parameters as they are."""
        step = pl_module.counters.opt_step + 1
        if self._moves is None:
            if step % self.every and step != pl_module.total_steps:
                return
            self._moves = Moves()
        if new := self._moves.look(optimizer):
            with torch.no_grad():
                self._gradients.append(total_norm(p.grad for p in new if p.grad is not None))

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Measure the update."""
        if self._moves is None:
            return
        with torch.no_grad():
            gradient = self._gradients[0] if len(self._gradients) == 1 else total_norm(self._gradients)
            update = total_norm(kept.update(p) for p, kept in self._moves.kept.items())
        self._found = {"train/grad_norm": gradient, "train/update_norm": update}
        self._moves, self._gradients = None, []

    def take(self) -> dict[str, float]:
        """What was measured at this step, if anything was; it is given once."""
        found, self._found = self._found, {}
        return {name: float(norm) for name, norm in found.items()}


def total_norm(tensors: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all entries, a scalar in float32 or better; sharded tensors count as a whole.

    Args:
        tensors: of any shapes; dense, sparse, or sharded over devices. No tensors: 0.
    """
    squares = [squared_norm(tensor) for tensor in tensors]
    shards = [square for square in squares if isinstance(square, DTensor)]
    whole = [square for square in squares if not isinstance(square, DTensor)]
    if shards:  # one sum, so that devices exchange one number
        whole.append(sum(shards[1:], shards[0]).full_tensor())
    if not whole:
        return torch.zeros(())
    return torch.stack([square.to(whole[0].device) for square in whole]).sum().sqrt()


def squared_norm(tensor: Tensor) -> Tensor:
    """The sum of squares, in float32 or better."""
    if tensor.is_sparse:
        tensor = tensor.coalesce().values()  # a row may stand there several times, and counts as their sum
    return at_least_float(tensor).square().sum()
