"""The straight line of one run, from its configuration to its parts: data, model, optimizer, schedule, task."""

import copy
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn

from steepest.batch import BatchPlan
from steepest.budget import Budget
from steepest.build import build, reported
from steepest.errors import ConfigError, shown
from steepest.launchers.machine import world_size
from steepest.runs.weights import checkpoint_of, load_weights
from steepest.schedules.driver import apply
from steepest.schedules.duration import to_steps
from steepest.signature import signature
from steepest.targets import target


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
    batch, schedule, lr = build(cfg.batch), build(cfg.schedule), learning_rate(cfg.optimizer)
    with reported(cfg.optimizer, "optimizer"):
        build(cfg.optimizer)([nn.Parameter(torch.zeros(1, 1))])  # a trial: its values are told of before data is read
    data = build(cfg.dataset)
    data.setup()
    if not data.num_val:
        fraction = cfg.dataset.get("validation_fraction", 0)
        raise ConfigError(
            f"dataset.validation_fraction={fraction} leaves no validation split of {data.num_train} training examples; "
            "allowed is a larger number below 1."
        )
    plan = batch.plan(data.num_train, world_size(cfg))
    data.attach(batch_size=plan.micro_size, accumulate=plan.accumulate, exact=plan.exact, seed=cfg.seed)
    total = Budget(**cfg.budget).total_steps(plan.steps_per_epoch, plan.size)
    lr *= plan.lr_factor
    schedule = schedule.bind(lr=lr, steps_per_epoch=plan.steps_per_epoch, total=total)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = fitting(cfg, data)
    rehearse(model, plan.micro_size, data, cfg.choices)
    if cfg.init_from:
        load_weights(model, checkpoint_of(cfg.init_from, cfg.paths.runs_dir))
    optimizer = build(cfg.optimizer, lr=lr)
    task = build(cfg.task, model=model, optimizer=optimizer, schedule=schedule, total_steps=total, plan=plan)
    with reported(cfg.optimizer, "optimizer"):
        trial = task.configure_optimizers()
    apply(schedule, trial, 0, total)  # what does not fit together says so now
    every = to_steps(cfg.validation.every, total, plan.steps_per_epoch, key="validation.every")
    return Parts(data, task, plan, total, min(max(1, every), total))


def learning_rate(optimizer: DictConfig) -> float:
    """The configured learning rate, before `batch.lr_scaling`."""
    if "lr" not in optimizer:
        raise ConfigError("optimizer.lr is missing; allowed is a number of 0 or more.")
    lr = optimizer.lr
    if isinstance(lr, bool) or not isinstance(lr, int | float):
        raise ConfigError(f"optimizer.lr={shown(lr)} is not possible; allowed is a number of 0 or more.")
    return lr


def fitting(cfg: DictConfig, data: Any) -> nn.Module:
    """The model, given what it needs to know of the dataset.

    Raises:
        ConfigError: the dataset does not declare something that the model needs.
    """
    node = cfg.model
    needs = [name for name in signature(target(node, "model")).needed if name not in node]
    for name in needs:
        if not hasattr(data, name):
            raise ConfigError(
                f"model={cfg.choices.model} needs {name}, which neither model.{name} nor "
                f"dataset={cfg.choices.dataset} gives; allowed is a model made for this kind of data."
            )
    return build(node, **{name: getattr(data, name) for name in needs})


def rehearse(model: nn.Module, micro_size: int, data: Any, choices: DictConfig) -> None:
    """Send the shapes of a training batch through a copy of the model, without its numbers.

    Raises:
        ConfigError: the model cannot take them, such as batch normalisation a single value, or gives other outputs.
    """
    shape = (micro_size, *data.input_shape)
    asked = f"batches of {' x '.join(map(str, shape))} of dataset={choices.dataset}"
    try:
        logits = copy.deepcopy(model).to("meta").train()(torch.empty(shape, device="meta"))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model={choices.model} cannot train on {asked} "
            f"({str(error).splitlines()[0]}); allowed are larger micro-batches, or another model."
        ) from None
    given = tuple(getattr(logits, "shape", ()))
    if given != (micro_size, data.num_classes):
        raise ConfigError(
            f"model={choices.model} turns {asked} into outputs of shape {list(given)}; allowed is "
            f"{[micro_size, data.num_classes]}, a number for each example and class."
        )


def clipping(clip: DictConfig) -> dict[str, Any]:
    """The Trainer's arguments for gradient clipping."""
    if clip.value is not None:
        return {"gradient_clip_val": clip.value, "gradient_clip_algorithm": "value"}
    return {"gradient_clip_val": clip.norm, "gradient_clip_algorithm": "norm"}
