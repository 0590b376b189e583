"""What the plain nodes of conf/config.yaml may hold; `schema.check` holds a configuration against it."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from steepest.budget import Budget
from steepest.errors import ConfigError
from steepest.routing import KINDS, Kind
from steepest.schedules import duration


class Node(BaseModel):
    """A mapping with these keys and no other; the description of a field is what a message says is allowed."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class BudgetNode(Node):
    """How long a run lasts; `Budget` knows the ranges."""

    steps: int | None = Field(description="a whole number above 0, or null")
    epochs: int | float | None = Field(description="a number above 0, or null")
    examples: int | None = Field(description="a whole number above 0, or null")
    seconds: int | float | None = Field(description="a number above 0, or null")

    @model_validator(mode="after")
    def in_range(self) -> "BudgetNode":
        """Bounds are above zero, and one of them fixes the number of steps."""
        Budget(**self.model_dump())
        return self


def _validation_interval(value: Any) -> Any:
    duration.check(value, "validation.every", positive=True)
    return value


class Validation(Node):
    """When the model is validated."""

    every: Annotated[Any, AfterValidator(_validation_interval)]


class Clip(Node):
    """Bounds on the gradient."""

    norm: float | None = Field(gt=0, description="a number above 0, or null")
    value: float | None = Field(gt=0, description="a number above 0, or null")

    @model_validator(mode="after")
    def one(self) -> "Clip":
        """Lightning clips by one of them."""
        if self.norm is not None and self.value is not None:
            raise ConfigError(
                f"clip.norm={self.norm:g} and clip.value={self.value:g} exclude each other; allowed is one."
            )
        return self


class StudyRun(Node):
    """Which run of a study a run is."""

    name: str = Field(description="a study's name")
    scale: str = Field(description="a scale's name")
    row: str = Field(description="a row's name")
    contender: str = Field(description="a contender's name")
    phase: Literal["search", "reserve", "evaluate"] = Field(description="search, reserve or evaluate")
    search: int = Field(ge=0, description="an integer of 0 or more")
    trial: int = Field(ge=0, description="an integer of 0 or more")


class Log(Node):
    """What the metrics hold."""

    every: int = Field(ge=1, description="an integer of 1 or more")
    norms: bool = Field(description="true or false")


class Checkpoint(Node):
    """When the run is saved."""

    every_steps: int | None = Field(ge=1, description="an integer of 1 or more, or null")
    every_seconds: float | None = Field(gt=0, description="a number above 0, or null")
    keep: int | None = Field(ge=2, description="an integer of 2 or more, or null")


def _writable(path: str) -> str:
    """Told now: the folder of a run is made when its data and its model are there."""
    nearest = next(folder for folder in (Path(path), *Path(path).absolute().parents) if os.access(folder, os.F_OK))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        why = "may not be written to" if nearest.is_dir() else "is no folder"
        raise ConfigError(
            f"paths.runs_dir={path} is not possible, since {nearest} {why}; allowed is a folder that you may write to."
        )
    return path


class Paths(Node):
    """Folders."""

    runs_dir: Annotated[str, Field(min_length=1), AfterValidator(_writable)] = Field(
        description="a folder's name (a number in quotes: \"'3'\")"
    )
    data_dir: str = Field(min_length=1, description="a folder's name")
    cache_dir: str = Field(min_length=1, description="a folder's name")


class Part(Node):
    """A node that becomes an object; its other keys are held against the target when it is built."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(alias="_target_", description="the full name of a class or function")


class Trainer(Node):
    """The group `trainer`."""

    accelerator: Literal["auto", "cpu", "gpu", "tpu"] = Field(description="auto, cpu, gpu or tpu")
    devices: int = Field(ge=1, description="an integer of 1 or more")
    num_nodes: int = Field(ge=1, description="an integer of 1 or more")
    strategy: Literal["auto", "ddp", "ddp_find_unused_parameters_true"] | Part = Field(
        description="auto, ddp, ddp_find_unused_parameters_true or a mapping with _target_"
    )
    sync_batchnorm: bool = Field(default=False, description="true or false")
    refuses: list[str] = Field(description="a list of Lightning's names of precisions")


class Precision(Node):
    """The group `precision`."""

    lightning: Literal["32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed"] = Field(
        description="32-true, 64-true, bf16-mixed, bf16-true or 16-mixed"
    )
    float32_matmul: Literal["highest", "high", "medium"] = Field(description="highest, high or medium")
    channels_last: bool = Field(description="true or false")
    needs_cuda: bool = Field(description="true or false")


class Optimizer(Part):
    """The group `optimizer`."""

    partial: Literal[True] = Field(alias="_partial_", description="true, since the parameters are given later")


class Route(Node):
    """An entry of the group `routing`."""

    kinds: list[Kind] = Field(default=[], description=f"a list of {', '.join(KINDS)}")
    patterns: list[str] = Field(default=[], description="a list of patterns of parameter names")
    exclude: list[str] = Field(default=[], description="a list of patterns of parameter names")
    optimizer: Optimizer | None = Field(default=None, description="a mapping with _target_, or null")
    lr_multiple: float = Field(default=1.0, ge=0, description="a number of 0 or more")
    weight_decay: float | None = Field(default=None, ge=0, description="a number of 0 or more, or null")


NODES = Field(description="a mapping of names to nodes with _target_ (~group.name leaves one out)")


class Config(Node):
    """The whole of a run's configuration. Nodes with `_target_` are held against their target when they are built."""

    seed: int = Field(ge=0, lt=2**32, description=f"an integer from 0 to {2**32 - 1}")
    threads: int | None = Field(ge=1, description="an integer of 1 or more, or null")
    name: str | None = Field(min_length=1, description="text, or null")
    init_from: str | None = Field(min_length=1, description="a run folder, a run's id, a checkpoint file, or null")
    force: bool = Field(description="true or false")
    budget: BudgetNode
    validation: Validation
    test: Literal["last", "best", "none"] = Field(description="last, best or none")
    clip: Clip
    log: Log
    checkpoint: Checkpoint
    paths: Paths
    trainer: Trainer
    precision: Precision
    dataset: Part
    model: Part
    task: Part
    optimizer: Optimizer
    routing: dict[str, Route] = Field(description="a mapping of names to routes")
    schedule: Part
    batch: Part
    callbacks: dict[str, Part] = NODES
    logger: dict[str, Part] = NODES
    study: StudyRun | None = Field(description="null: `steepest reproduce` fills it in")
    run: dict[str, Any]
    choices: dict[str, Any] = {}
