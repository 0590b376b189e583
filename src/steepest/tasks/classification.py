"""Classification: logits against class numbers."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from steepest.batch import BatchPlan
from steepest.errors import ConfigError
from steepest.optimizers.natural_gradient import kl_divergence
from steepest.schedules.schedule import Schedule
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.descent import Descent
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape

Batch = tuple[Tensor, Tensor]


class Classification(Descent, QuickHooks, pl.LightningModule):
    """Trains a classifier by cross-entropy; the headline is its accuracy on the validation split.

    Args:
        model: maps inputs [B, ...] to logits [B, classes].
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: gives num_classes and class_names.
        label_smoothing: share of the training target spread over all classes (Szegedy et al. 2016, arXiv:1512.00567).

    Raises:
        ConfigError: a label_smoothing outside [0, 1).
    """

    headline = ("val/accuracy", "max")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"dataset": ("num_classes", "class_names")}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(f"task.label_smoothing={label_smoothing} is out of range; allowed is from 0 to below 1.")
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.total_steps, self.plan, self.label_smoothing = total_steps, plan, label_smoothing
        self.num_classes, self.class_names = data.num_classes, list(data.class_names)
        self.counters = Counters()
        self.sharded = False
        self.keeps_batch = False
        self.batch: Batch | None = None
        self.train_loss = RunningMean()
        self.eval_loss, self.eval_accuracy = MeanMetric(), MeanMetric()
        self.confusion = MulticlassConfusionMatrix(self.num_classes, validate_args=False)
        self.confused: Tensor | None = None
        """How many test examples of class i were taken for class j, [classes, classes]; once there was a test."""

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: a scalar with its graph."""
        x, y = batch
        return F.cross_entropy(self.model(x), y, label_smoothing=self.label_smoothing)

    def loss_and_divergence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, and the mean KL divergence from the present predictions: scalars with their graph.

        The divergence is 0, and so is its gradient; its Hessian is the Fisher matrix.
        """
        x, y = batch
        logits = self.model(x)
        return F.cross_entropy(logits, y, label_smoothing=self.label_smoothing), kl_divergence(logits)

    def rehearse(self, batch: Batch) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: it does not give a number for each example and class.
        """
        x, _ = batch
        require_shape(outputs(self.model, x), (len(x), self.num_classes), "a number for each example and class")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages."""
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages, and to the confusion matrix."""
        self.evaluate(batch, self.confusion)

    def evaluate(self, batch: Batch, confusion: Metric | None = None) -> None:
        """Adds a batch to the averages of loss and accuracy, each example with the same weight."""
        x, y = batch
        if not len(y):  # a rank beyond the last example goes through the model all the same: shards are exchanged there
            self.model(x.new_zeros(1, *x.shape[1:]))
            return
        logits = self.model(x).float()
        self.eval_loss.update(F.cross_entropy(logits, y), weight=len(y))
        prediction = logits.argmax(-1)
        self.eval_accuracy.update((prediction == y).float().mean(), weight=len(y))
        if confusion is not None:
            confusion.update(prediction, y)

    def on_validation_epoch_end(self) -> None:
        """Publishes the averages of the validation split."""
        self.publish("val")

    def on_test_epoch_end(self) -> None:
        """Publishes the averages of the test split, and keeps the confusion matrix over all devices."""
        self.publish("test")
        self.confused = self.confusion.compute().cpu()
        self.confusion.reset()

    def publish(self, split: str) -> None:
        """Logs `<split>/loss` and `<split>/accuracy`, over all devices; loggers get them from the recorder."""
        for name, metric in (("loss", self.eval_loss), ("accuracy", self.eval_accuracy)):
            self.log(f"{split}/{name}", metric.compute(), logger=False)
            metric.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """For each example [B]: its target, the predicted class, and that class's probability."""
        x, y = batch
        probability, prediction = self.model(x).float().softmax(-1).max(-1)
        return {"target": y, "prediction": prediction, "probability": probability}

    def pictures(self) -> dict[str, Any]:
        """The confusion matrix of the test."""
        from steepest.pictures import confusion_matrix

        return {"confusion": confusion_matrix(self.confused, self.class_names)}

    def configure_model(self) -> None:
        """Shards the parameters where the strategy has a mesh of devices (FSDP2)."""
        if self.device_mesh is not None and not self.sharded:
            fully_shard(self.model, mesh=self.device_mesh["data_parallel"])
            self.sharded = True
