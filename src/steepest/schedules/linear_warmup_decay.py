"""Linear warm-up, then linear decay."""

from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.duration import Duration
from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import progress, warmup_factor


@dataclass(frozen=True, kw_only=True)
class LinearWarmupDecay(WithMinimum):
    """Linear warm-up over W updates, then linear decay to the end T. Devlin et al. 2019 (BERT), arXiv:1810.04805, A.2.

        alpha(t) = alpha_0 (t + 1) / (W + 1)                                    t < W
        alpha(t) = alpha_0 - (alpha_0 - alpha_min) (t - W) / (T - W)            t >= W

    Args:
        warmup: duration of the warm-up; zero for none.
    """

    phases: ClassVar = ("warmup",)

    warmup: Duration = 0.1

    def multiplier(self, step: int, total: int) -> float:
        """The ramp, then the decay."""
        W = self.warmup_steps(total)
        t = min(step, total)
        if t < W:
            return warmup_factor(t, W)
        return self.above_minimum(1.0 - progress(t, W, total))
