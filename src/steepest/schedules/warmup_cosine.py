"""Linear warm-up, then cosine annealing."""

from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.cosine import half_cosine
from steepest.schedules.duration import Duration
from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import progress, warmup_factor


@dataclass(frozen=True, kw_only=True)
class WarmupCosine(WithMinimum):
    """Linear warm-up over W updates, then cosine annealing to the end T: the standard for large language models.

        alpha(t) = alpha_0 (t + 1) / (W + 1)                                                         t < W
        alpha(t) = alpha_min + 1/2 (alpha_0 - alpha_min) (1 + cos(pi (t - W) / (T - W)))             t >= W

    Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, after the warm-up of Goyal et al. 2017, arXiv:1706.02677.

    Args:
        warmup: duration of the warm-up; zero for none.
    """

    phases: ClassVar = ("warmup",)

    warmup: Duration = 0.05

    def multiplier(self, step: int, total: int) -> float:
        """The ramp, then the cosine."""
        W = self.warmup_steps(total)
        t = min(step, total)
        if t < W:
            return warmup_factor(t, W)
        return self.above_minimum(half_cosine(progress(t, W, total)))
