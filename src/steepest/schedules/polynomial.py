"""Polynomial decay."""

from dataclasses import dataclass

from steepest.schedules.minimum import WithMinimum
from steepest.schedules.schedule import is_number, progress, require


@dataclass(frozen=True, kw_only=True)
class Polynomial(WithMinimum):
    """Polynomial decay over the whole run T, the "poly" policy of DeepLab. Chen et al. 2017, arXiv:1606.00915.

        alpha(t) = alpha_min + (alpha_0 - alpha_min) (1 - t / T)^power

    Args:
        power: above 0; 1 is linear decay.
    """

    power: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_number(self.power, 0) and self.power > 0, "power", self.power, "a number above 0")

    def multiplier(self, step: int, total: int) -> float:
        """(1 - t / T)^power, above the minimum."""
        return self.above_minimum((1.0 - progress(step, 0, total)) ** self.power)
