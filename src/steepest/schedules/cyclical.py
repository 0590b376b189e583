"""Cyclical learning rates."""

from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.cosine import half_cosine
from steepest.schedules.duration import Duration, periods_done
from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import is_number, require, require_choice


@dataclass(frozen=True, kw_only=True)
class Cyclical(WithMinimum):
    """Cyclical learning rates: up from the minimum to the peak and down again. Smith 2017, arXiv:1506.01186.

        n = floor(t / cycle),  x = t / cycle - n
        alpha(t) = alpha_min + (alpha_0 - alpha_min) decay^n s(x)
        s(x) = 1 - |2 x - 1|  (triangular)  or  1/2 (1 - cos(2 pi x))  (cosine)

    torch's CyclicLR with step_size_up = cycle / 2; decay 0.5 is its (and the paper's) "triangular2". The paper's lower
    bound is a learning rate that learns already: with a minimum of zero the first update of each cycle does nothing.

    Args:
        cycle: duration of one cycle, up and down; two of the paper's step sizes.
        shape: triangular or cosine.
        decay: factor on the amplitude from one cycle to the next, above 0 and up to 1.
    """

    periods: ClassVar = ("cycle",)

    cycle: Duration = 0.25
    shape: str = "triangular"
    decay: float = 1.0
    min_ratio: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("shape", self.shape, ("triangular", "cosine"))
        require(is_number(self.decay, 0, 1) and self.decay > 0, "decay", self.decay, "a number above 0, up to 1")

    def multiplier(self, step: int, total: int) -> float:
        """decay^n s(x), above the minimum."""
        t = min(step, total)
        cycle = self.period_steps("cycle", total)
        n = periods_done(t, cycle)
        x = max(0.0, t / cycle - n)
        rise = 1.0 - abs(2.0 * x - 1.0)  # 0 to 1 and back
        s = rise if self.shape == "triangular" else 1.0 - half_cosine(rise)
        return self.above_minimum(self.decay**n * s)
