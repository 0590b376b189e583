"""Measures how a model trains, layer by layer, a few times a run."""

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytorch_lightning as pl
import torch
from torch.distributed.tensor import DTensor

from steepest.callbacks.aside import aside
from steepest.callbacks.curvature import top_eigenvalue
from steepest.callbacks.layers import layer_values
from steepest.callbacks.moves import Moves
from steepest.callbacks.noise_scale import MicroBatches, NoiseScale, from_halves, halves, trained
from steepest.callbacks.recorder import Recorder, rates
from steepest.errors import ConfigError, shown
from steepest.schedules.duration import Duration, check, to_steps

log = logging.getLogger("steepest")
KEY = "callbacks.diagnostics"


class Diagnostics(pl.Callback):
    """A row of what one optimizer step did, at the first and the last step and every so often in between.

    The training is the same bit for bit with it and without; the clock of the run stands still for what costs more
    than a look. What is found at a step goes into a row of its own: for `layers` see `layer_values`;
    `train/noise_scale` see `NoiseScale`, with `train/grad_square` and `train/grad_variance`, this step's estimates of
    |G|^2 and tr(Sigma); `train/sharpness` is the largest eigenvalue of the Hessian of the loss of this step's first
    micro-batch, and `train/sharpness_limit` is 2 / lr, above which plain gradient descent does not settle;
    `train/initial_loss` is the loss of the first step's batch.

    All tasks have the layers; of a step of several optimizers each parameter's first gradient counts. The noise scale
    comes from the micro-batches where one device accumulates several, which costs a copy of the gradient for each, and
    else from two halves of the (first) micro-batch, which costs one more gradient. It and the sharpness are of tasks
    with one loss, `loss(batch)`; they are left out where that is not so, where batches have no halves, and where
    parameters are sharded.

    Args:
        every: optimizer steps (integer), fraction of the run (float) or "2 epochs" between two measurements.
        layers: whether to measure gradient, weights and update of each parameter tensor; at these steps this copies
            the parameters and the gradient.
        noise_scale: whether to estimate the gradient noise scale.
        sharpness: whether to find the largest eigenvalue of the Hessian.
        power_iterations: products of Hessian and vector that may take, each about two gradients.

    Raises:
        ConfigError: a value out of its range.
    """

    def __init__(
        self,
        every: Duration = 0.1,
        layers: bool = True,
        noise_scale: bool = True,
        sharpness: bool = False,
        power_iterations: int = 20,
    ) -> None:
        check(every, f"{KEY}.every", positive=True)
        if type(power_iterations) is not int or power_iterations < 1:
            raise ConfigError(
                f"{KEY}.power_iterations={shown(power_iterations)} is not possible; allowed is an integer of 1 or more."
            )
        self.every, self.layers, self.noise_scale, self.sharpness = every, layers, noise_scale, sharpness
        self.power_iterations = power_iterations
        self.noise = NoiseScale()
        self._between = 1
        self._step = 0  # the one that is being measured, or was last
        self._moves: Moves | None = None
        self._micro: MicroBatches | None = None
        self._found: dict[str, float] = {}
        self._examples = 0
        self._failed: set[str] = set()

    def state_dict(self) -> dict[str, Any]:
        """The measurements that the noise scale is the mean of."""
        return {"noise": [list(pair) for pair in self.noise.pairs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        for square, trace in state_dict["noise"]:
            self.noise.add(square, trace)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Work out the steps to measure."""
        steps = to_steps(self.every, pl_module.total_steps, pl_module.plan.steps_per_epoch, key=f"{KEY}.every")
        self._between = max(1, steps)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Begin to measure, where the batch is the first one of a step that is due."""
        step = pl_module.counters.opt_step + 1
        self._examples = len(batch[0]) if isinstance(batch, tuple | list) and len(batch) else 0
        if step == self._step or (step % self._between and step not in (1, pl_module.total_steps)):
            return
        self._step, self._found = step, {}
        self._moves = Moves(gradients=True) if self.layers else Moves()
        if not has_one_loss(pl_module) or not (self.noise_scale or self.sharpness):
            return
        with stopped_clock(trainer):
            if self.noise_scale:
                self._see_noise(trainer, pl_module, batch)
            if self.sharpness:
                self._see_sharpness(trainer, pl_module, batch)

    def on_after_backward(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Look at a micro-batch's gradient."""
        if self._micro is not None and self._moves is not None:
            scaler = getattr(trainer.precision_plugin, "scaler", None)
            self._micro.add(self._examples, scaler.get_scale() if scaler is not None else 1.0)

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Copy what is about to move."""
        if self._moves is None:
            return
        if self.layers:
            self._moves.look(optimizer)
        if self._micro is not None and (found := self._micro.estimates()) is not None:
            self._add_noise(*found)
            self._micro = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """After the step, measure what moved, and write the row."""
        if self._moves is None or pl_module.counters.opt_step < self._step:
            return
        if self._step == 1:
            self._see_first_loss(trainer, pl_module)
        names = {p: name.removeprefix("model.") for name, p in pl_module.named_parameters()}
        if self.layers:
            self._found |= layer_values(self._moves.kept, names)
        if "train/sharpness" in self._found and (lr := rates(trainer)["lr"]) > 0:
            self._found["train/sharpness_limit"] = 2 / lr
        self._moves = self._micro = None
        recorder = recorder_of(trainer)
        if recorder is not None and self._found:
            recorder.write(trainer, pl_module, self._found)

    def _see_noise(self, trainer: pl.Trainer, task: Any, batch: Any) -> None:
        """Estimate the noise from two halves now, or else have the micro-batches watched."""
        if trainer.world_size == 1 and task.plan.accumulate > 1:
            self._micro = MicroBatches(task, task.plan.accumulate)
            return
        if not halves(batch):
            return

        def measure() -> tuple[float, float]:
            found = from_halves(task, batch)
            return (math.nan, math.nan) if found is None else found

        # A rank's part is as good as another's; all add the same number, so that they stay equal.
        pair = self._aside(task, "noise_scale", measure, (math.nan, math.nan))
        if trainer.world_size > 1:
            shared = torch.tensor(pair, dtype=torch.float64, device=task.device)
            pair = tuple(torch.as_tensor(trainer.strategy.reduce(shared, reduce_op="mean")).tolist())
        self._add_noise(*pair)

    def _see_sharpness(self, trainer: pl.Trainer, task: Any, batch: Any) -> None:
        """Find the largest eigenvalue for this rank's micro-batch, and the mean over the ranks."""

        def measure() -> float:
            return top_eigenvalue(lambda: task.loss(batch), trained(task), self.power_iterations, seed=self._step)

        value = self._aside(task, "sharpness", measure, math.nan)
        if trainer.world_size > 1:
            shared = torch.tensor(value, dtype=torch.float64, device=task.device)
            value = float(torch.as_tensor(trainer.strategy.reduce(shared, reduce_op="mean")))
        if math.isfinite(value):
            self._found["train/sharpness"] = value

    def _see_first_loss(self, trainer: pl.Trainer, task: Any) -> None:
        """The loss of the first step, unless a row of training has it already."""
        mean = task.train_loss
        if not mean.count:
            return
        loss = mean.total.double() / mean.count
        if trainer.world_size > 1:
            loss = torch.as_tensor(trainer.strategy.reduce(loss.clone(), reduce_op="mean"))
        self._found["train/initial_loss"] = float(loss)

    def _add_noise(self, square: float, trace: float) -> None:
        self.noise.add(square, trace)
        if math.isfinite(square) and math.isfinite(trace):
            self._found |= {"train/grad_square": square, "train/grad_variance": trace}
            if self.noise.value is not None:
                self._found["train/noise_scale"] = self.noise.value

    def _aside(self, task: Any, what: str, measure: Callable[[], Any], otherwise: Any) -> Any:
        """What is measured beside the training; a fault there is a line in the log, and it is not tried again."""
        if what in self._failed:
            return otherwise
        try:
            with aside(task, seed=self._step):
                return measure()
        except Exception as error:
            self._failed.add(what)
            log.warning("%s.%s is left out: %s", KEY, what, str(error).partition("\n")[0] or type(error).__name__)
            return otherwise


def has_one_loss(task: Any) -> bool:
    """Whether `task.loss(batch)` is what the task trains, and can be evaluated beside it."""
    sharded = any(isinstance(p, DTensor) for p in task.parameters())
    return bool(task.automatic_optimization and hasattr(task, "loss") and not sharded)


def recorder_of(trainer: pl.Trainer) -> Recorder | None:
    """The callback that writes the rows of the run."""
    callbacks: list[Any] = getattr(trainer, "callbacks", [])
    return next((callback for callback in callbacks if isinstance(callback, Recorder)), None)


def stopped_clock(trainer: pl.Trainer) -> Any:
    """Let the clock of the run stand still in the body."""
    recorder = recorder_of(trainer)
    return nullcontext() if recorder is None else recorder.clock.stopped()
