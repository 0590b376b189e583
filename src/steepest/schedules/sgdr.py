"""Cosine annealing with warm restarts."""

import math
from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.cosine import half_cosine
from steepest.schedules.duration import Duration, periods_done
from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import is_number, require


@dataclass(frozen=True, kw_only=True)
class SGDR(WithMinimum):
    """Cosine annealing with warm restarts. Loshchilov and Hutter 2017 (SGDR), arXiv:1608.03983, equation 5.

        alpha(t) = alpha_min + 1/2 (alpha_0 - alpha_min) (1 + cos(pi T_cur / T_n))
        T_n = T_0 m^n,   T_cur = t - T_0 (m^n - 1) / (m - 1),   n the restarts so far

    torch's CosineAnnealingWarmRestarts, but for two things: m may be any number from 1 up, and a restart that falls on
    the end of the run, where no update follows, does not happen.

    Args:
        first_cycle: duration of the first cycle, T_0.
        cycle_multiplier: how many times longer each cycle is than the one before, m; from 1 to 100.
    """

    periods: ClassVar = ("first_cycle",)

    first_cycle: Duration = 0.142857
    cycle_multiplier: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        m = self.cycle_multiplier
        require(is_number(m, 1, 100), "cycle_multiplier", m, "a number from 1 to 100")

    def multiplier(self, step: int, total: int) -> float:
        """1/2 (1 + cos(pi T_cur / T_n)), above the minimum."""
        T_0 = self.period_steps("first_cycle", total)
        start, T_n = self._cycle(min(step, total - 1), T_0)
        T_cur = min(step, total) - start
        return self.above_minimum(half_cosine(min(max(T_cur / T_n, 0.0), 1.0)))

    def _cycle(self, t: int, T_0: float) -> tuple[float, float]:
        """First step and length of the cycle that step t lies in: the geometric series, solved for n."""
        growth = math.log(self.cycle_multiplier)
        if growth == 0.0:
            return periods_done(t, T_0) * T_0, T_0
        m_1 = self.cycle_multiplier - 1.0
        n = math.floor(math.log1p(t / T_0 * m_1) / growth + 1e-9)
        return T_0 * math.expm1(n * growth) / m_1, T_0 * self.cycle_multiplier**n
