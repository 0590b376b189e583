"""Recommendation: a number for each set of embedding rows, a rating or the chance of a click."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric
from torchmetrics.classification import BinaryAUROC

from steepest.batch import BatchPlan
from steepest.errors import ConfigError, shown
from steepest.schedules.schedule import Schedule
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.descent import Descent
from steepest.tasks.embeddings import ByRarity, require_clippable
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape
from steepest.tasks.values import at_least_float

Batch = tuple[Tensor, Tensor]
HEADLINES = {"squared": ("val/rmse", "min"), "logistic": ("val/loss", "min")}


class Recommendation(Descent, QuickHooks, pl.LightningModule):
    """Trains embedding tables on examples of a row of each field, by squared or logistic error.

        squared     (y - f(x))^2 + penalty |theta_x|^2          theta_x: all weights that f(x) uses
        logistic    log(1 + exp(-f(x))) if y = 1, else log(1 + exp(f(x))), + penalty |theta_x|^2

    The penalty is that of Koren, Bell and Volinsky 2009, Computer 42(8), equation 5: of the rows of an example alone.
    Of ratings the headline is the root mean squared error of predictions cut to the range of the training ratings; of
    clicks it is the logistic loss, with the area under the ROC curve beside it. Both are published for examples with a
    rare row apart. `val/loss` is the mean error without penalty and cut.

    Args:
        model: maps rows int64 [B, fields] to [B]; its `with_norms` gives |theta_x|^2 too, [B].
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: gives row_counts and target_range.
        clip: arguments of `clip_gradients`.
        error: squared or logistic.
        penalty: of the squared weights of an example, in training.
        rare: an example is rare if one of its rows occurs at most so often in the training part.

    Raises:
        ConfigError: a value that is out of range.
    """

    needs: ClassVar[dict[str, tuple[str, ...]]] = {
        "model": ("with_norms",),
        "dataset": ("row_counts", "target_range"),
    }

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        clip: Mapping[str, Any],
        error: str = "squared",
        penalty: float = 0.0,
        rare: int = 5,
    ) -> None:
        super().__init__()
        if error not in HEADLINES:
            raise ConfigError(f"task.error={shown(error)} is unknown; allowed are {' and '.join(HEADLINES)}.")
        if not 0.0 <= penalty < float("inf"):
            raise ConfigError(f"task.penalty={penalty} is not possible; allowed is a number of 0 or more.")
        require_clippable(model, clip)
        low, high = data.target_range
        if error == "logistic" and not 0.0 <= low <= high <= 1.0:
            raise ConfigError(
                f"task.error=logistic is not possible with targets from {low:g} to {high:g}; allowed is squared, or a "
                "dataset of clicks."
            )
        self.model: Any = model
        self.optimizer, self.schedule = optimizer, schedule
        self.total_steps, self.plan, self.error, self.penalty = total_steps, plan, error, penalty
        self.target_range = (low, high)
        self.headline = HEADLINES[error]
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: Batch | None = None
        self.train_loss = RunningMean()
        self.eval_loss, self.eval_square = MeanMetric(), MeanMetric()
        self.eval_area = BinaryAUROC()
        self.by_rarity = ByRarity(data.row_counts, rare)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The error of each example, [B]."""
        if self.error == "squared":
            return (outputs - targets).square()
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: a scalar with its graph."""
        return self.loss_and_outputs(batch)[0]

    def loss_and_outputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, a scalar, and the outputs [B], with their graph."""
        ids, targets = batch
        outputs, norms = self.model.with_norms(ids)
        errors = self.errors(outputs, targets)
        return (errors + self.penalty * norms if self.penalty else errors).mean(), outputs

    def loss_and_divergence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, and the mean divergence from the present predictions: scalars with their graph.

        Of ratings that of Gaussians of variance 1/2, whose likelihood is the squared error; of clicks that of coins.
        """
        loss, outputs = self.loss_and_outputs(batch)
        if self.error == "squared":
            divergence = (outputs - outputs.detach()).square().mean()
        else:
            chance = outputs.detach().sigmoid()
            entropy = F.binary_cross_entropy_with_logits(outputs.detach(), chance)
            divergence = F.binary_cross_entropy_with_logits(outputs, chance) - entropy
        return loss, divergence

    def rehearse(self, batch: Batch) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: it does not give a number for each example.
        """
        ids, _ = batch
        require_shape(outputs(self.model, ids), (len(ids),), "a number for each example")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages."""
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages."""
        self.evaluate(batch)

    def evaluate(self, batch: Batch) -> None:
        """Adds a batch to the averages, each example with the same weight."""
        ids, targets = batch
        if not len(targets):  # a rank beyond the last example
            return
        outputs, targets = at_least_float(self.model(ids)), at_least_float(targets)
        errors = self.errors(outputs, targets)
        self.eval_loss.update(errors.mean(), weight=len(targets))
        if self.error == "squared":
            errors = (outputs.clamp(*self.target_range) - targets).square()
            self.eval_square.update(errors.mean(), weight=len(targets))
        else:
            self.eval_area.update(outputs.sigmoid(), targets.long())
        self.by_rarity.update(ids, errors)

    def on_validation_epoch_end(self) -> None:
        """Publishes the averages of the validation split."""
        self.publish("val")

    def on_test_epoch_end(self) -> None:
        """Publishes the averages of the test split."""
        self.publish("test")

    def publish(self, split: str) -> None:
        """Logs the averages, those over examples with rare rows and without, and the numbers of these."""
        found, squared = {"loss": self.eval_loss.compute()}, self.error == "squared"
        if squared:
            found["rmse"] = self.eval_square.compute().sqrt()
        else:
            found["auroc"] = self.eval_area.compute()
        for name, (mean, number) in self.by_rarity.take().items():
            found[f"rmse_{name}" if squared else f"loss_{name}"] = mean.sqrt() if squared else mean
            found[f"examples_{name}"] = number
        for name, value in found.items():
            self.log(f"{split}/{name}", value, logger=False)
        for metric in (self.eval_loss, self.eval_square, self.eval_area):
            metric.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """For each example [B]: its target, and the rating or the chance of a click that is predicted."""
        ids, targets = batch
        outputs = at_least_float(self.model(ids))
        prediction = outputs.clamp(*self.target_range) if self.error == "squared" else outputs.sigmoid()
        return {"target": targets, "prediction": prediction}
