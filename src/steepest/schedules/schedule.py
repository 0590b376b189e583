"""The base of every schedule."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from steepest.errors import ConfigError
from steepest.schedules.duration import check, in_steps, without_epochs


@dataclass(frozen=True)
class Schedule:
    """A learning rate as a pure function of the step: no state, so a resumed run cannot drift from an unbroken one.

    Steps count optimizer updates from 0. A run of `total` updates uses steps 0 to total - 1; from step `total` on, a
    schedule holds the value that it ends with (its limit at `total` from below).

    A warm-up of W updates gives update t the factor (t + 1) / (W + 1): the line from zero, which lies one step before
    the first update so that none is wasted, to the peak, which is reached exactly at t = W.

    Raises:
        ConfigError: at construction, for a field that is out of range.
    """

    phases: ClassVar[tuple[str, ...]] = ()
    """Fields that are durations of consecutive parts of the run; each may be zero, together they must fit into it."""
    periods: ClassVar[tuple[str, ...]] = ()
    """Fields that are durations of something that repeats or scales; longer than zero, perhaps longer than the run."""

    def __post_init__(self) -> None:
        for name in self.phases + self.periods:
            check(getattr(self, name), f"schedule.{name}", positive=name in self.periods)

    def multiplier(self, step: int, total: int) -> float:
        """The factor on the optimizer's learning rate for update `step` of `total`; from 0 to 1."""
        raise NotImplementedError

    def momentum(self, step: int, total: int) -> float | None:
        """The momentum (or beta1) for update `step` of `total`; None leaves the optimizer's own alone."""
        return None

    def bind(self, *, lr: float, steps_per_epoch: int, total: int) -> Self:
        """A copy for one run: epochs become steps, an absolute minimum becomes a ratio.

        Args:
            lr: the learning rate that the multiplier is applied to.
            steps_per_epoch: optimizer steps per epoch.
            total: optimizer steps of the run.

        Raises:
            ConfigError: the phases are longer than the run, or the minimum exceeds the learning rate.
        """
        epochs = {name: without_epochs(getattr(self, name), steps_per_epoch) for name in self.phases}
        epochs |= {name: without_epochs(getattr(self, name), steps_per_epoch) or 1 for name in self.periods}
        bound = replace(self, **epochs)
        if bound.phase_steps(total) > total + 1e-6:
            given = " and ".join(f"schedule.{name}={getattr(self, name)!r}" for name in self.phases)
            raise ConfigError(
                f"{given} would take {bound.phase_steps(total):g} steps of a run of {total}; allowed is up to {total}."
            )
        return bound

    def phase_steps(self, total: int) -> float:
        """Steps that the phases take together."""
        return sum(in_steps(getattr(self, name), total) for name in self.phases)

    def warmup_steps(self, total: int) -> int:
        """The field `warmup`, as the nearest whole number of steps."""
        warmup: Any = getattr(self, "warmup", 0)
        return round(in_steps(warmup, total))

    def period_steps(self, name: str, total: int) -> float:
        """A field of `periods` in steps, no shorter than one."""
        return max(1.0, in_steps(getattr(self, name), total))


def warmup_factor(step: int, warmup: int) -> float:
    """(t + 1) / (W + 1), for the updates t < W of a warm-up of W steps."""
    return (step + 1) / (warmup + 1)


def progress(step: int, start: float, end: float) -> float:
    """How far `step` has come from `start` (0.0) to `end` (1.0, also beyond it); 0.0 if there is nothing between."""
    return (min(step, end) - start) / (end - start) if start < end else 0.0


def require(allows: bool, name: str, value: Any, allowed: str) -> None:
    """Raise ConfigError for the field `name` unless `allows`."""
    if not allows:
        raise ConfigError(f"schedule.{name}={value!r} is out of range; allowed is {allowed}.")


def is_number(value: Any, low: float, high: float = math.inf) -> bool:
    """Whether `value` is a finite number from `low` to `high`, both included."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high and value < math.inf


def require_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise ConfigError for the field `name` unless its value is one of `choices`."""
    require(value in choices, name, value, f"one of {', '.join(choices)}")


def require_flag(name: str, value: Any) -> None:
    """Raise ConfigError for the field `name` unless it is true or false; the string "false" would count as true."""
    require(isinstance(value, bool), name, value, "true or false")
