"""Minimisation of an analytic function: the model is a point."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.batch import BatchPlan
from steepest.schedules.schedule import Schedule
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.descent import Descent
from steepest.tasks.quick import QuickHooks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATH_POINTS = 1000


class Minimization(Descent, QuickHooks, pl.LightningModule):
    """Moves a point to where a function f is least; the headline is the gap f(x) - f*.

    Validation and test look at the point in double precision: `loss` f(x), `gap`, `distance` to the nearest minimum,
    and `grad_norm`, the Euclidean norm of the exact gradient. The task keeps the way of a point in the plane.

    Args:
        model: gives the point, [d].
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: the function, an `Objective`.
    """

    headline = ("val/gap", "min")
    one_device = True
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"model": ("x",), "dataset": ("minimum", "minimizers", "value")}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.optimizer, self.schedule = optimizer, schedule
        self.total_steps, self.plan, self.function = total_steps, plan, data
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: tuple[Tensor] | None = None
        self.train_loss = RunningMean()
        self.path = Path()

    def loss(self, batch: tuple[Tensor]) -> Tensor:
        """f(x), with the mean of the batch's noise [B, d] times x where there is some: a scalar with its graph."""
        (draws,), x = batch, self.model()
        value = self.function.value(x)
        return value + self.function.noise * (draws.mean(0).to(x) @ x) if draws.shape[1] else value

    def rehearse(self, batch: tuple[Tensor]) -> None:
        """Nothing to rehearse: the point takes no batch."""

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """The loss of one micro-batch; at the first one of a step the point goes into the path."""
        if batch_idx % self.plan.accumulate == 0:
            self.path.add(self.model.x, self.counters.opt_step)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        """Looks at the point."""
        self.publish("val")

    def test_step(self, batch: tuple[Tensor], batch_idx: int) -> None:
        """Looks at the point."""
        self.publish("test")

    def publish(self, split: str) -> None:
        """Logs `<split>/loss`, `gap`, `distance` and `grad_norm`."""
        for name, value in self.measures().items():
            self.log(f"{split}/{name}", value, logger=False, batch_size=1)

    def measures(self) -> dict[str, float]:
        """The value, the gap, the distance to the nearest minimum and the gradient's norm, in double precision."""
        with torch.inference_mode(False), torch.enable_grad():
            x = self.model.x.detach().cpu().double().requires_grad_()
            value = self.function.value(x)
            (gradient,) = torch.autograd.grad(value, x)
        distances = torch.linalg.vector_norm(self.function.minimizers - x.detach(), dim=1)
        return {
            "loss": value.item(),
            "gap": value.item() - self.function.minimum,
            "distance": distances.min().item(),
            "grad_norm": torch.linalg.vector_norm(gradient).item(),
        }

    def predict_step(self, batch: tuple[Tensor], batch_idx: int) -> dict[str, Tensor]:
        """The point and its value, a row."""
        x = self.model.x.detach().double().unsqueeze(0)
        return {**{f"x{i + 1}": x[:, i] for i in range(x.shape[1])}, "value": self.function.value(x)}

    def pictures(self) -> "dict[str, Figure]":
        """Of a function of two variables the way over its contours."""
        from steepest.pictures import contour_path

        if not self.path.points:
            return {}

        def heights(points: np.ndarray) -> np.ndarray:
            return self.function.value(torch.from_numpy(points)).numpy()

        way = [*self.path.points, self.model.x.tolist()]
        title, minimizers = f"Path on {self.function.name}", self.function.minimizers.numpy()
        return {"path": contour_path(heights, way, minimizers, title, self.counters.opt_step)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what was spent, and the way up to now."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["path"] = self.path.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on from there."""
        super().on_load_checkpoint(checkpoint)
        self.path.load_state_dict(checkpoint["path"])


class Path:
    """The points of a way in the plane: every one, or every 2nd, 4th ... of a long way, so that it stays bounded."""

    def __init__(self) -> None:
        self.points: list[list[float]] = []
        self.every = 1

    def add(self, x: Tensor, step: int) -> None:
        """Take in a point [2] before the step of this number; of points of other dimensions nothing is kept."""
        if len(x) != 2 or step % self.every:
            return
        self.points.append(x.tolist())
        if len(self.points) > PATH_POINTS:
            self.points, self.every = self.points[::2], 2 * self.every

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"points": self.points, "every": self.every}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the way of a checkpoint."""
        self.points, self.every = state["points"], state["every"]
