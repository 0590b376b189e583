"""Warm-up, stable, decay."""

import math
from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.cosine import half_cosine
from steepest.schedules.duration import Duration, in_steps
from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import progress, require_choice, warmup_factor


@dataclass(frozen=True, kw_only=True)
class WSD(WithMinimum):
    """Warm-up over W updates, a constant stretch, decay over the last D. Hu et al. 2024 (MiniCPM), arXiv:2404.06395.

        alpha(t) = alpha_0 (t + 1) / (W + 1)                        t < W
        alpha(t) = alpha_0                                          W <= t <= T - D
        alpha(t) = alpha_min + (alpha_0 - alpha_min) f(x)           x = (t - (T - D)) / D
        f(x) = 1 - x  (linear),  1/2 (1 + cos(pi x))  (cosine)  or  1 - sqrt(x)  (sqrt)

    Any state of the constant stretch can be decayed on its own, so that runs of several lengths share their beginning.
    The sqrt shape is that of Haegele et al. 2024, arXiv:2405.18392.

    Args:
        warmup: duration of the warm-up; zero for none.
        decay: duration of the decay at the end; zero for none.
        decay_shape: linear, cosine or sqrt.
    """

    phases: ClassVar = ("warmup", "decay")

    warmup: Duration = 0.05
    decay: Duration = 0.2
    decay_shape: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("decay_shape", self.decay_shape, ("linear", "cosine", "sqrt"))

    def multiplier(self, step: int, total: int) -> float:
        """The ramp, the constant stretch, the decay."""
        W = self.warmup_steps(total)
        t = min(step, total)
        if t < W:
            return warmup_factor(t, W)
        decay_start = max(W, total - in_steps(self.decay, total))  # W is rounded, and may reach into the decay
        if t <= decay_start:
            return 1.0
        x = progress(t, decay_start, total)
        match self.decay_shape:
            case "linear":
                f = 1.0 - x
            case "cosine":
                f = half_cosine(x)
            case _:
                f = 1.0 - math.sqrt(x)
        return self.above_minimum(f)
