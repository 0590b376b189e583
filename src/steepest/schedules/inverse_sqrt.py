"""Linear warm-up, then decay by the inverse square root of the step."""

import math
from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.duration import Duration
from steepest.schedules.schedule import Schedule, warmup_factor


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """The Transformer's schedule, scaled to a peak of alpha_0. Vaswani et al. 2017, arXiv:1706.03762, equation 3.

        alpha(t) = alpha_0 (t + 1) / (W + 1)                t < W
        alpha(t) = alpha_0 sqrt((W + 1) / (t + 1))          t >= W

    The paper counts steps from 1, so that its warmup_steps is W + 1: the step of the peak.

    Args:
        warmup: duration of the warm-up; zero for none.
    """

    phases: ClassVar = ("warmup",)

    warmup: Duration = 0.04

    def multiplier(self, step: int, total: int) -> float:
        """The ramp, then the inverse square root."""
        W = self.warmup_steps(total)
        t = min(step, total)
        return warmup_factor(t, W) if t < W else math.sqrt((W + 1) / (t + 1))
