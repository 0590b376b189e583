"""The 1cycle policy."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from steepest.schedules.cosine import half_cosine
from steepest.schedules.duration import Duration, in_steps
from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import is_number, require, require_choice, require_flag


@dataclass(frozen=True, kw_only=True)
class OneCycle(WithMinimum):
    """The 1cycle policy: one ramp up, one down, momentum against it. Smith and Topin 2018, arXiv:1708.07120.

        step         0             W - 1           T - 1            with three_phase:  0      W - 1   2 W - 2   T - 1
        multiplier   start_ratio   1               min_ratio                           start  1       start     min
        momentum     max_momentum  min_momentum    max_momentum                        max    min     max       max

    and between these the line, or half a cosine. As torch's OneCycleLR has it, the warm-up starts at start_ratio on the
    first update and is at its peak on its last, and the run's last update is made at the minimum. In torch's terms
    warmup is pct_start, start_ratio is 1 / div_factor and min_ratio is start_ratio / final_div_factor.

    Args:
        warmup: duration of the ramp up.
        start_ratio: the learning rate of the first update as a fraction of the optimizer's.
        anneal: cosine (fast.ai's) or linear (the paper's).
        three_phase: down to start_ratio as fast as up, then to the minimum (the paper); otherwise straight down.
        cycle_momentum: whether momentum (beta1 in Adam's family) moves, from 0 to 1, against the learning rate.
        min_momentum: momentum at the highest learning rate.
        max_momentum: momentum at the lowest.
    """

    phases: ClassVar = ("warmup",)

    warmup: Duration = 0.3
    start_ratio: float = 0.04
    anneal: str = "cosine"
    three_phase: bool = False
    cycle_momentum: bool = True
    min_momentum: float = 0.85
    max_momentum: float = 0.95
    min_ratio: float = 4e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_number(self.start_ratio, 0, 1), "start_ratio", self.start_ratio, "a number from 0 to 1")
        require_choice("anneal", self.anneal, ("cosine", "linear"))
        require_flag("three_phase", self.three_phase)
        require_flag("cycle_momentum", self.cycle_momentum)
        high = self.max_momentum
        require(is_number(high, 0, 1) and high < 1, "max_momentum", high, "a number from 0 to below 1")
        allowed = f"a number from 0 to schedule.max_momentum={high}"
        require(is_number(self.min_momentum, 0, high), "min_momentum", self.min_momentum, allowed)

    def multiplier(self, step: int, total: int) -> float:
        """start_ratio, 1, min_ratio."""
        return self._through(self.start_ratio, 1.0, self.minimum, step, total)

    def momentum(self, step: int, total: int) -> float | None:
        """max_momentum, min_momentum, max_momentum; None unless cycle_momentum."""
        if not self.cycle_momentum:
            return None
        return self._through(self.max_momentum, self.min_momentum, self.max_momentum, step, total)

    def phase_steps(self, total: int) -> float:
        """The ramp up and, in three phases, as long a ramp down."""
        return super().phase_steps(total) * (2 if self.three_phase else 1)

    def _through(self, start: float, peak: float, end: float, step: int, total: int) -> float:
        """The value at `step` of what goes from start to peak to end; a ramp of one step or less begins at its peak."""
        top = max(0.0, in_steps(self.warmup, total) - 1)
        knots = [(0.0, start), (top, peak), (total - 1.0, end)]
        if self.three_phase:
            knots.insert(2, (2 * top, start))
        t = min(step, total - 1)
        for (t0, value0), (t1, value1) in pairwise(knots):
            if t <= t1:
                x = (t - t0) / (t1 - t0) if t0 < t1 else 1.0
                share = 1.0 - half_cosine(x) if self.anneal == "cosine" else x
                return value0 + (value1 - value0) * share
        return end
