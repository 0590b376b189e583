"""Exponential decay."""

import math
from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.duration import Duration
from steepest.schedules.schedule import Schedule, is_number, require


@dataclass(frozen=True)
class Exponential(Schedule):
    """Exponential decay: a continuous drop by a fixed ratio.

        alpha(t) = alpha_0 exp(-rate t / per)

    torch's ExponentialLR with gamma = exp(-rate / per), its `per` in steps.

    Args:
        rate: decay constant, in e-foldings per `per`; 0 or more.
        per: the duration in which the learning rate falls by exp(-rate).
    """

    periods: ClassVar = ("per",)

    rate: float = 4.6
    per: Duration = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_number(self.rate, 0), "rate", self.rate, "a number of 0 or more")

    def multiplier(self, step: int, total: int) -> float:
        """exp(-rate t / per)."""
        t = min(step, total)
        return math.exp(-self.rate * t / self.period_steps("per", total))
