"""The weights that are evaluated, where an optimizer trains others."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from steepest.optimizers.composite import evaluates_elsewhere

TRAINED = "trained_weights"
"""The checkpoint's key of the weights that training goes on with; `state_dict` has those to evaluate."""


class EvaluationWeights(pl.Callback):
    """Lets validation, test and checkpoints have the weights to evaluate, of optimizers that train others.

    Schedule-free optimizers average, Nesterov's look-ahead stands a step ahead: what such an optimizer's `eval` puts in
    place is the model. A full checkpoint keeps the weights that are trained beside it, so that a resumed run goes on
    with them, bit for bit.
    """

    def __init__(self) -> None:
        self._trained: dict[str, Tensor] = {}

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Evaluates the model."""
        self.to_evaluation(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Goes on training."""
        self.to_training(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Leaves the model for the test."""
        self.to_evaluation(trainer, pl_module)

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Puts the model into the checkpoint's `state_dict`, what is trained beside it."""
        if not having(trainer) or self._trained:
            return
        self.to_evaluation(trainer, pl_module)
        checkpoint[TRAINED] = self._trained
        checkpoint["state_dict"].update({name: p.detach().clone() for name, p in pl_module.named_parameters()})
        self.to_training(trainer, pl_module)

    def on_load_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Goes on with what was trained; the model was put in place before."""
        for name, parameter in pl_module.named_parameters():
            if name in checkpoint.get(TRAINED, {}):
                parameter.data.copy_(checkpoint[TRAINED][name])

    @torch.no_grad()
    def to_evaluation(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put the weights to evaluate in place."""
        if optimizers := having(trainer):
            self._trained = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
            for optimizer in optimizers:
                optimizer.eval()

    @torch.no_grad()
    def to_training(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put the weights that are trained back: the copy, since not every optimizer's own way back is exact."""
        for optimizer in having(trainer):
            optimizer.train()
        for name, parameter in pl_module.named_parameters():
            if name in self._trained:
                parameter.copy_(self._trained[name])
        self._trained = {}


def having(trainer: pl.Trainer) -> list[Any]:
    """The optimizers of a run that train other weights than are to be evaluated."""
    return [optimizer for optimizer in trainer.optimizers if evaluates_elsewhere(optimizer)]
