"""Cosine annealing without restarts."""

import math
from dataclasses import dataclass

from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import progress


@dataclass(frozen=True, kw_only=True)
class Cosine(WithMinimum):
    """Cosine annealing over the whole run T. Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, one cycle.

        alpha(t) = alpha_min + 1/2 (alpha_0 - alpha_min) (1 + cos(pi t / T))

    Beyond T it holds alpha_min, where torch's CosineAnnealingLR would rise again.
    """

    def multiplier(self, step: int, total: int) -> float:
        """1/2 (1 + cos(pi t / T)), above the minimum."""
        return self.above_minimum(half_cosine(progress(step, 0, total)))


def half_cosine(x: float) -> float:
    """From 1 at x = 0 to 0 at x = 1, level at both ends: 1/2 (1 + cos(pi x))."""
    return 0.5 * (1.0 + math.cos(math.pi * x))
