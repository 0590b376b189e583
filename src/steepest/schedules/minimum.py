"""Schedules that end at, or return to, a smallest learning rate."""

from dataclasses import dataclass, replace
from typing import Self

from steepest.errors import ConfigError
from steepest.schedules.schedule import Schedule, is_number, require


@dataclass(frozen=True, kw_only=True)
class WithMinimum(Schedule):
    """A schedule with a smallest learning rate, given as a ratio or absolutely.

    Args:
        min_ratio: the smallest learning rate as a fraction of the optimizer's.
        min_lr: the smallest learning rate itself; where given, it takes the place of `min_ratio`.
    """

    min_ratio: float = 0.0
    min_lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_number(self.min_ratio, 0, 1), "min_ratio", self.min_ratio, "a number from 0 to 1")
        if self.min_lr is None:
            return
        require(is_number(self.min_lr, 0), "min_lr", self.min_lr, "a number of 0 or more, or null")
        default = type(self).__dataclass_fields__["min_ratio"].default
        if self.min_lr and self.min_ratio not in (0, default):
            both = f"schedule.min_ratio={self.min_ratio} and schedule.min_lr={self.min_lr}"
            raise ConfigError(f"{both} are two minima; allowed is one of them.")

    def bind(self, *, lr: float, steps_per_epoch: int, total: int) -> Self:
        """As `Schedule.bind`; `min_lr` becomes `min_ratio`."""
        bound = super().bind(lr=lr, steps_per_epoch=steps_per_epoch, total=total)
        if bound.min_lr is None:
            return bound
        if bound.min_lr > lr:
            raise ConfigError(
                f"schedule.min_lr={bound.min_lr} exceeds the learning rate {lr:g}; allowed is from 0 to {lr:g}."
            )
        return replace(bound, min_ratio=bound.min_lr / lr if lr else 0.0, min_lr=None)

    @property
    def minimum(self) -> float:
        """The smallest multiplier.

        Raises:
            ValueError: it depends on a learning rate that is unknown before `bind`.
        """
        if self.min_lr is not None:
            raise ValueError(f"min_lr={self.min_lr} is an absolute learning rate; call bind() first.")
        return self.min_ratio

    def above_minimum(self, share: float) -> float:
        """From the minimum (a share of 0.0) to the peak (1.0): alpha_min + (alpha_0 - alpha_min) share, by alpha_0."""
        minimum = self.minimum
        return minimum + (1.0 - minimum) * share
