"""Regression: numbers against numbers, or an image against itself."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from steepest.batch import BatchPlan
from steepest.errors import ConfigError, shown
from steepest.schedules.schedule import Schedule
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.descent import Descent
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Batch = tuple[Tensor, Tensor]
SHOWN = 16


class Regression(Descent, QuickHooks, pl.LightningModule):
    """Trains by the squared error, a mean over all entries of all targets; the headline is that of validation.

    Args:
        model: maps inputs [B, ...] to outputs of the targets' shape.
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: its batches are (inputs, targets); of images, `plain` says how pixels were scaled.
        target: target (the second tensor of a batch), or input (the first itself: an autoencoder).

    Raises:
        ConfigError: an unknown target.
    """

    headline = ("val/loss", "min")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"dataset": ("input_shape",)}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        target: str = "target",
    ) -> None:
        super().__init__()
        if target not in ("target", "input"):
            raise ConfigError(f"task.target={shown(target)} is unknown; allowed are target and input.")
        if target == "target" and not hasattr(data, "target_shape"):
            raise ConfigError(
                f"task.target=target needs target_shape, which dataset={data.name} does not give; allowed is input, "
                "or a dataset of numbers to predict."
            )
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.total_steps, self.plan, self.target, self.scaling = total_steps, plan, target, data.plain
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: Batch | None = None
        self.train_loss = RunningMean()
        self.eval_loss = MeanMetric()
        self.shown: Batch | None = None

    def wanted(self, batch: Batch) -> Tensor:
        """What the model should give."""
        return batch[0] if self.target == "input" else batch[1]

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: a scalar with its graph."""
        return F.mse_loss(self.model(batch[0]), self.wanted(batch))

    def loss_and_divergence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, and the mean divergence from the present outputs: scalars with their graph.

        The divergence of Gaussians of variance 1/2, whose likelihood is the squared error.
        """
        found = self.model(batch[0])
        return F.mse_loss(found, self.wanted(batch)), F.mse_loss(found, found.detach())

    def rehearse(self, batch: Batch) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: its outputs have not the targets' shape.
        """
        require_shape(outputs(self.model, batch[0]), self.wanted(batch).shape, "that of the targets")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages."""
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages, and keeps the first examples to show them."""
        if len(found := self.evaluate(batch)) and self.shown is None:
            self.shown = batch[0][:SHOWN], found[:SHOWN]

    def evaluate(self, batch: Batch) -> Tensor:
        """Adds a batch to the average of the loss, each example with the same weight; returns the outputs."""
        if not len(batch[0]):  # a rank beyond the last example
            return batch[0]
        found = self.model(batch[0])
        self.eval_loss.update(F.mse_loss(found, self.wanted(batch)).float(), weight=len(found))
        return found

    def on_validation_epoch_end(self) -> None:
        """Publishes the average of the validation split."""
        self.publish("val")

    def on_test_epoch_end(self) -> None:
        """Publishes the average of the test split."""
        self.publish("test")

    def publish(self, split: str) -> None:
        """Logs `<split>/loss`, over all devices."""
        self.log(f"{split}/loss", self.eval_loss.compute(), logger=False)
        self.eval_loss.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """For each example [B]: its target and the output, or, of an autoencoder, the error of its image."""
        found, wanted = self.model(batch[0]), self.wanted(batch)
        if self.target == "target" and wanted[0].numel() == 1:
            return {"target": wanted.flatten(), "prediction": found.flatten()}
        return {"error": (found - wanted).square().flatten(1).mean(1)}

    def pictures(self) -> "dict[str, Figure]":
        """Of an autoencoder, images of the test set above what it makes of them."""
        from steepest.pictures import image_grid

        if self.target != "input" or self.shown is None or self.scaling is None:
            return {}
        pixels = [
            (part.detach().cpu().float() - self.scaling.shift.cpu()) / self.scaling.scale.cpu() for part in self.shown
        ]
        images = torch.cat(pixels).clamp(0, 255).round().to(torch.uint8)
        return {
            "reconstructions": image_grid(
                images, len(pixels[0]), "Images of the test set, and below them what is given back"
            )
        }
