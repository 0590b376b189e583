"""The straight line of one run, from its configuration to its parts: data, model, optimizer, schedule, task."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from steepest.batch import Batch, BatchPlan
from steepest.budget import Budget
from steepest.build import build, reported
from steepest.errors import ConfigError, shown
from steepest.launchers.machine import world_size
from steepest.optimizers.composite import evaluates_elsewhere
from steepest.routing.assignment import Row, assignment
from steepest.routing.routes import Route, Routing
from steepest.runs.weights import checkpoint_of, load_weights
from steepest.schedules.driver import apply
from steepest.schedules.duration import to_steps
from steepest.signature import signature
from steepest.targets import target
from steepest.tasks.rehearsal import WrongOutputs


@dataclass(frozen=True)
class Parts:
    """A run, built and not yet begun."""

    data: pl.LightningDataModule
    task: Any
    assignment: list[Row]
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
    for node, path in optimizers(cfg):
        with reported(node, path), at(path):
            Routing(build(node))(nn.Linear(1, 1))  # a trial: its values are told of before data is read
    data = build(cfg.dataset)
    data.setup()
    if not data.num_val:
        fraction = cfg.dataset.get("validation_fraction", 0)
        raise ConfigError(
            f"dataset.validation_fraction={fraction} leaves no validation split of {data.num_train} training examples; "
            "allowed is a larger number below 1."
        )
    require_parts(cfg, "dataset", data)
    plan, total = plan_of(cfg, batch, data)
    schedule = schedule.bind(lr=lr * plan.lr_factor, steps_per_epoch=plan.steps_per_epoch, total=total)
    pl.seed_everything(cfg.seed, workers=True, verbose=False)
    model = fitting(cfg, data)
    require_parts(cfg, "model", model)
    live = {"model": model, "schedule": schedule, "total_steps": total, "plan": plan}
    optional = {"data": data, "clip": clipping(cfg.clip)}
    takes = signature(target(cfg.task, "task")).types
    live |= {name: value for name, value in optional.items() if name in takes}
    task = build(cfg.task, optimizer=routing(cfg, plan.lr_factor), **live)
    require_devices(task, cfg)
    rehearse(task, plan.micro_size, data, cfg.choices)
    whole = not task.automatic_optimization  # it cuts the batches itself
    data.attach(
        batch_size=plan.micro_size * (plan.accumulate if whole else 1),
        accumulate=1 if whole else plan.accumulate,
        exact=plan.exact,
        seed=cfg.seed,
        steps_per_epoch=plan.steps_per_epoch,
    )
    if cfg.precision.channels_last:
        model.to(memory_format=torch.channels_last)
    if cfg.init_from:
        load_weights(model, checkpoint_of(cfg.init_from, cfg.paths.runs_dir))
    with reported(cfg.optimizer, "optimizer"):
        made = task.configure_optimizers()
    rows = []
    for trial in made if isinstance(made, list) else [made]:
        require_support(trial, cfg, plan, task)
        rows += assignment(trial, model)
        apply(schedule, trial, 0, total)  # what does not fit together says so now
        if hasattr(trial, "close"):
            trial.close()  # it looks into the model
    every = to_steps(cfg.validation.every, total, plan.steps_per_epoch, key="validation.every")
    return Parts(data, task, rows, plan, total, min(max(1, every), total))


def plan_of(cfg: DictConfig, batch: Batch, data: Any) -> tuple[BatchPlan, int]:
    """The batch worked out for the data, and the optimizer steps of the run.

    A step stands for as many examples as its batch has, unless the task says otherwise: in reinforcement learning
    examples are steps of the environment, and one can be in several batches.
    """
    plan = batch.plan(data.num_train, world_size(cfg))
    per_step, before = float(plan.size), 0
    if hasattr(kind := target(cfg.task, "task"), "examples_per_step"):
        per_step = kind.examples_per_step(cfg.task, plan, data)
        plan = replace(plan, steps_per_epoch=max(1, round(data.num_train / per_step)))
    if hasattr(kind, "examples_before"):
        before = kind.examples_before(cfg.task)
    return plan, Budget(**cfg.budget).total_steps(plan.steps_per_epoch, per_step, before)


def require_parts(cfg: DictConfig, group: str, made: Any) -> None:
    """Raise ConfigError unless what was made of a group has all that the task needs of it."""
    for name in getattr(target(cfg.task, "task"), "needs", {}).get(group, ()):
        if not hasattr(made, name):
            raise ConfigError(
                f"task={cfg.choices.task} needs {name}, which {group}={cfg.choices[group]} does not give; allowed is a "
                f"{group} made for this task."
            )


def require_devices(task: Any, cfg: DictConfig) -> None:
    """Raise ConfigError for a trainer that the task cannot spread over."""
    devices, chosen = world_size(cfg), f"trainer={cfg.choices.trainer} with task={cfg.choices.task}"
    if devices > 1 and getattr(task, "one_device", False):
        raise ConfigError(f"{chosen} is not possible on {devices} devices; allowed is one.")
    if cfg.trainer.get("sync_batchnorm") and cfg.trainer.accelerator != "gpu" and normalises_batches(task):
        raise ConfigError(
            f"trainer.sync_batchnorm=true with model={cfg.choices.model} is not possible on {cfg.trainer.accelerator}, "
            "since torch has no such batch normalisation there; allowed are false, and models without."
        )
    if OmegaConf.is_config(cfg.trainer.strategy) and type(task).configure_model is pl.LightningModule.configure_model:
        raise ConfigError(
            f"{chosen} is not possible, since it does not shard its model; allowed are ddp and one device."
        )


def normalises_batches(task: nn.Module) -> bool:
    """Whether a layer takes means over a batch."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in task.modules())


def learning_rate(optimizer: DictConfig, path: str = "optimizer") -> float:
    """The configured learning rate, before `batch.lr_scaling`."""
    if "lr" not in optimizer:
        raise ConfigError(f"{path}.lr is missing; allowed is a number of 0 or more.")
    lr = optimizer.lr
    if isinstance(lr, bool) or not isinstance(lr, int | float):
        raise ConfigError(f"{path}.lr={shown(lr)} is not possible; allowed is a number of 0 or more.")
    return lr


def optimizers(cfg: DictConfig) -> Iterator[tuple[DictConfig, str]]:
    """The nodes of all optimizers, and where they stand."""
    yield cfg.optimizer, "optimizer"
    for name, route in cfg.routing.items():
        if route.get("optimizer"):
            yield route.optimizer, f"routing.{name}.optimizer"


@contextmanager
def at(path: str) -> Iterator[None]:
    """Let what an optimizer says of its values name where they stand: optimizers themselves say optimizer.lr."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(str(error).replace("optimizer.", f"{path}.", 1)) from None


def routing(cfg: DictConfig, lr_factor: float) -> Routing:
    """What makes the optimizer of a model, the learning rates of all its parts scaled for the batch."""
    made = {path: build(node, lr=learning_rate(node, path) * lr_factor) for node, path in optimizers(cfg)}
    routes = {}
    for name, route in cfg.routing.items():
        values: Any = OmegaConf.to_container(route, resolve=True)
        routes[str(name)] = Route(**{**values, "optimizer": made.get(f"routing.{name}.optimizer")})
    return Routing(made["optimizer"], routes)


def require_support(optimizer: Any, cfg: DictConfig, plan: BatchPlan, task: Any) -> None:
    """Raise ConfigError for what an optimizer, or a part of it, cannot do."""
    devices, sharded = world_size(cfg), OmegaConf.is_config(cfg.trainer.strategy)
    for part in getattr(optimizer, "parts", [optimizer]):
        reach, name = getattr(part, "reach", "element"), f"optimizer={cfg.choices.optimizer}"
        if part is not optimizer:
            name += f" with {type(part).__name__}"
        if reach == "closure":
            why = f"{name} evaluates the loss several times a step, which is not possible with"
            for key, given in (("clip.norm", cfg.clip.norm), ("clip.value", cfg.clip.value)):
                if given is not None:
                    raise ConfigError(f"{why} {key}={given:g}; allowed is null.")
            if plan.accumulate > 1:
                raise ConfigError(
                    f"{why} the {plan.accumulate} micro-batches of batch.micro_size={plan.micro_size}; "
                    "allowed is one micro-batch, as large as the batch."
                )
            if devices > 1:
                raise ConfigError(f"{why} {devices} devices, which would each take their own way; allowed is one.")
        if getattr(part, "needs_divergence", False) and not hasattr(task, "loss_and_divergence"):
            raise ConfigError(
                f"{name} needs a model that gives probabilities, and task={cfg.choices.task} has none; allowed is "
                "every other optimizer."
            )
        if (tables := sparse_tables(part, task.model)) and not takes_sparse(part, tables.values()):
            cautious = any(group.get("cautious") for group in part.param_groups)
            raise ConfigError(
                f"{name}{' with cautious=true' * cautious} cannot take the sparse gradients of {next(iter(tables))}; "
                "allowed are model.sparse=false, and optimizers of single entries such as adagrad, adam and sgd."
            )
        if reach in ("closure", "module") and cfg.precision.lightning == "16-mixed":
            raise ConfigError(
                f"{name} is not possible with precision={cfg.choices.precision}, whose loss is scaled; "
                "allowed are fp32, fp64, tf32 and bf16_mixed."
            )
        if sharded and (evaluates_elsewhere(part) or not getattr(part, "takes_shards", True)):
            raise ConfigError(
                f"{name} needs whole parameters, which trainer={cfg.choices.trainer} shards; allowed is ddp, or one "
                "device."
            )


def sparse_tables(optimizer: Any, model: nn.Module) -> dict[str, nn.Parameter]:
    """The tables with sparse gradients that an optimizer trains, by the names of their layers."""
    trained = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    layers = model.named_modules()
    return {name: layer.weight for name, layer in layers if getattr(layer, "sparse", False) and layer.weight in trained}


def takes_sparse(optimizer: Any, tables: Iterable[nn.Parameter]) -> bool:
    """Whether an optimizer can step on sparse gradients of these tables; a library's is tried, on a copy of all."""
    if hasattr(optimizer, "reach"):
        return optimizer.reach == "element" and not any(group.get("cautious") for group in optimizer.param_groups)
    memo: dict[int, Any] = {}
    trial, sparse = copy.deepcopy(optimizer, memo), [memo[id(table)] for table in tables]
    for group in trial.param_groups:
        for p in group["params"]:
            p.grad = torch.zeros_like(p)
            if any(p is table for table in sparse):
                p.grad = torch.sparse_coo_tensor(
                    torch.zeros(1, 1, dtype=torch.int64), torch.ones_like(p[:1]), p.shape, check_invariants=False
                )
    try:
        trial.step()
    except Exception:  # each library has its own
        return False
    return True


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


def rehearse(task: Any, micro_size: int, data: Any, choices: DictConfig) -> None:
    """Send the shapes of a training batch through the task's model, without its numbers.

    Raises:
        ConfigError: the model cannot take them, such as batch normalisation a single value, or gives other outputs.
    """
    batch = data.blank_batch(micro_size)
    asked = f"batches of {' x '.join(map(str, batch[0].shape))} of dataset={choices.dataset}"
    try:
        task.rehearse(batch)
    except WrongOutputs as error:
        raise ConfigError(f"model={choices.model} turns {asked} into {error}.") from None
    except ConfigError:
        raise
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"model={choices.model} cannot train on {asked} "
            f"({str(error).splitlines()[0]}); allowed are larger micro-batches, or another model."
        ) from None


def clipping(clip: DictConfig) -> dict[str, Any]:
    """The Trainer's arguments for gradient clipping."""
    if clip.value is not None:
        return {"gradient_clip_val": clip.value, "gradient_clip_algorithm": "value"}
    return {"gradient_clip_val": clip.norm, "gradient_clip_algorithm": "norm"}
