"""The straight line of one run, from its configuration to its parts: data, model, optimizer, schedule, task."""

import copy
import inspect
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn

from steepest.batch import BatchPlan
from steepest.budget import Budget
from steepest.build import build, target
from steepest.errors import ConfigError
from steepest.launchers.machine import world_size
from steepest.runs.weights import checkpoint_of, load_weights
from steepest.schedules.driver import apply
from steepest.schedules.duration import to_steps


@dataclass(frozen=True)
class Parts:
    """A run, built and not yet begun."""

    data: pl.LightningDataModule
    task: Any
    plan: BatchPlan
    total_steps: int
    validation_steps: int


def assemble(cfg: DictConfig) -> Parts:
    """Build the parts of a run from its settled configuration.

    Raises:
        ConfigError: parts that do not fit together, or values that are out of range.
    """
    torch.set_num_threads(cfg.threads)
    torch.set_float32_matmul_precision(cfg.precision.float32_matmul)
    # Convolutions have a switch of their own.
    torch.backends.cudnn.allow_tf32 = cfg.precision.float32_matmul != "highest"
    data = build(cfg.dataset)
    data.setup()
    if not data.num_val:
        raise ConfigError("dataset.validation_fraction=0 leaves no validation split; allowed is a number above 0.")
    plan = build(cfg.batch).plan(data.num_train, world_size(cfg))
    data.attach(batch_size=plan.micro_size, accumulate=plan.accumulate, exact=plan.exact, seed=cfg.seed)
    total = Budget(**cfg.budget).total_steps(plan.steps_per_epoch, plan.size)
    if not isinstance(cfg.optimizer.lr, int | float):
        raise ConfigError(f"optimizer.lr={cfg.optimizer.lr} is not a number; allowed is a number of 0 or more.")
    lr = cfg.optimizer.lr * plan.lr_factor
    schedule = build(cfg.schedule).bind(lr=lr, steps_per_epoch=plan.steps_per_epoch, total=total)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = fitting(cfg, data)
    rehearse(model, plan.micro_size, data.input_shape, cfg.choices)
    if cfg.init_from:
        load_weights(model, checkpoint_of(cfg.init_from, cfg.paths.runs_dir))
    optimizer = build(cfg.optimizer, lr=lr)
    task = build(cfg.task, model=model, optimizer=optimizer, schedule=schedule, total_steps=total, plan=plan)
    apply(schedule, task.configure_optimizers(), 0, total)  # a trial: what does not fit together says so now
    clipping(cfg.clip)
    every = to_steps(cfg.validation.every, total, plan.steps_per_epoch, key="validation.every")
    return Parts(data, task, plan, total, min(max(1, every), total))


def fitting(cfg: DictConfig, data: Any) -> nn.Module:
    """The model, given what it needs to know of the dataset.

    Raises:
        ConfigError: the dataset does not declare something that the model needs.
    """
    node = cfg.model
    needs = [name for name in inspect.signature(target(node)).parameters if name not in node]
    for name in needs:
        if not hasattr(data, name):
            raise ConfigError(
                f"model={cfg.choices.model} needs {name}, which dataset={cfg.choices.dataset} does not declare; "
                "allowed is a model made for this kind of data."
            )
    return build(node, **{name: getattr(data, name) for name in needs})


def rehearse(model: nn.Module, micro_size: int, input_shape: tuple[int, ...], choices: DictConfig) -> None:
    """Send the shapes of a training batch through a copy of the model, without its numbers.

    Raises:
        ConfigError: the model cannot take them, such as batch normalisation a single value.
    """
    try:
        copy.deepcopy(model).to("meta").train()(torch.empty(micro_size, *input_shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        shape = " x ".join(map(str, input_shape))
        raise ConfigError(
            f"model={choices.model} cannot train on batches of {micro_size} x {shape} of dataset={choices.dataset} "
            f"({str(error).splitlines()[0]}); allowed are larger micro-batches, or another model."
        ) from None


def clipping(clip: DictConfig) -> dict[str, Any]:
    """The Trainer's arguments for gradient clipping."""
    for key in ("norm", "value"):
        if clip[key] is not None and not clip[key] > 0:
            raise ConfigError(f"clip.{key}={clip[key]} is out of range; allowed is a number above 0, or null.")
    if clip.norm is not None and clip.value is not None:
        raise ConfigError(f"clip.norm={clip.norm} and clip.value={clip.value} exclude each other; set one to null.")
    if clip.value is not None:
        return {"gradient_clip_val": clip.value, "gradient_clip_algorithm": "value"}
    return {"gradient_clip_val": clip.norm, "gradient_clip_algorithm": "norm"}
