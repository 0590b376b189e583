"""Constant learning rate."""

from dataclasses import dataclass

from steepest.schedules.schedule import Schedule


@dataclass(frozen=True)
class Constant(Schedule):
    """The same learning rate throughout: the baseline.

    alpha(t) = alpha_0
    """

    def multiplier(self, step: int, total: int) -> float:
        """1."""
        return 1.0
