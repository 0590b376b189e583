"""Step decay."""

from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.duration import Duration, periods_done
from steepest.schedules.schedule import Schedule, is_number, require


@dataclass(frozen=True)
class Step(Schedule):
    """Step decay: a drop by the same factor at regular intervals, as for ResNets (He et al. 2015, arXiv:1512.03385).

        alpha(t) = alpha_0 gamma^floor(t / every)

    Args:
        gamma: the factor of each drop, above 0 and up to 1.
        every: duration between drops.
    """

    periods: ClassVar = ("every",)

    gamma: float = 0.1
    every: Duration = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_number(self.gamma, 0, 1) and self.gamma > 0, "gamma", self.gamma, "a number above 0, up to 1")

    def multiplier(self, step: int, total: int) -> float:
        """gamma^floor(t / every)."""
        t = min(step, total - 1)  # a drop that falls on the end itself never happens
        return float(self.gamma ** periods_done(t, self.period_steps("every", total)))
