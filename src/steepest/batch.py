"""How many examples make one optimizer step, and what that does to the learning rate."""

import math
from dataclasses import dataclass

from steepest.errors import ConfigError

SCALINGS = ("none", "linear", "sqrt")


@dataclass(frozen=True)
class BatchPlan:
    """A batch size, worked out for a training set and a number of devices."""

    size: int
    """Examples per optimizer step, over all devices and micro-batches."""
    micro_size: int
    """Examples per forward pass on one device (the largest, where `exact`)."""
    accumulate: int
    """Forward and backward passes per optimizer step on each device."""
    steps_per_epoch: int
    exact: bool
    """One step is the whole training set, each example once; micro-batches may then differ by one in size."""
    lr_factor: float
    """What `lr_scaling` makes of the learning rate."""


@dataclass(frozen=True)
class Batch:
    """The `batch` group: gradient descent on one example, a part, or all of the training set at a step.

    Batch normalisation and dropout see micro-batches: a batch that is accumulated from several has the statistics of
    each, and a dropout mask for each, and its gradient is the mean over all of its examples.

    Args:
        size: examples per optimizer step over all devices together; null is the whole training set.
        micro_size: examples per forward pass and device; null is the device's whole share at once.
        lr_scaling: none, linear (lr * size / reference_size; Goyal et al. 2017, arXiv:1706.02677) or sqrt (its root;
            Krizhevsky 2014, arXiv:1404.5997).
        reference_size: the batch size that the configured learning rate is meant for.

    Raises:
        ConfigError: a value that is out of range.
    """

    size: int | None
    micro_size: int | None
    lr_scaling: str
    reference_size: int

    def __post_init__(self) -> None:
        for key in ("size", "micro_size", "reference_size"):
            value = getattr(self, key)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"batch.{key}={value} is out of range; allowed is an integer of 1 or more.")
        if self.lr_scaling not in SCALINGS:
            raise ConfigError(f"batch.lr_scaling={self.lr_scaling} is unknown; allowed are {', '.join(SCALINGS)}.")

    def plan(self, num_train: int, world_size: int) -> BatchPlan:
        """Share the batch among the devices and cut it into micro-batches.

        Args:
            num_train: examples in the training set.
            world_size: devices that work on one batch.

        Raises:
            ConfigError: the batch exceeds the training set, or does not divide evenly.
        """
        exact = self.size is None
        size = num_train if self.size is None else self.size
        if size > num_train:
            raise ConfigError(f"batch.size={size} exceeds the training set; allowed is up to {num_train}.")
        if not exact and size % world_size:
            raise ConfigError(f"batch.size={size} is no multiple of the {world_size} devices that share it.")
        share = math.ceil(size / world_size)
        micro_size = min(self.micro_size or share, share)
        if not exact and share % micro_size:
            raise ConfigError(
                f"batch.micro_size={micro_size} does not divide the {share} examples of a device evenly; "
                f"allowed are the divisors of {share}."
            )
        ratio = size / self.reference_size
        return BatchPlan(
            size=size,
            micro_size=micro_size,
            accumulate=math.ceil(share / micro_size),
            steps_per_epoch=num_train // size,
            exact=exact,
            lr_factor={"none": 1.0, "linear": ratio, "sqrt": math.sqrt(ratio)}[self.lr_scaling],
        )
