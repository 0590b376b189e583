"""Inverse time decay."""

from dataclasses import dataclass
from typing import ClassVar

from steepest.schedules.duration import Duration
from steepest.schedules.schedule import Schedule, is_number, require


@dataclass(frozen=True)
class InverseTime(Schedule):
    """Inverse time decay: step sizes of stochastic approximation. Robbins and Monro 1951, doi:10.1214/aoms/1177729586.

        alpha(t) = alpha_0 (1 + rate t / per)^-power

    With 1/2 < power <= 1 the learning rates meet their conditions: the sum over all t is infinite, so that any distance
    can be walked, and the sum of squares is finite, so that the noise of the gradients averages out.

    Args:
        rate: decay per `per`; 0 or more.
        per: the duration in which the learning rate falls to (1 + rate)^-power.
        power: above 0.5, up to 1.
    """

    periods: ClassVar = ("per",)

    rate: float = 10.0
    per: Duration = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(is_number(self.rate, 0), "rate", self.rate, "a number of 0 or more")
        allowed = "a number above 0.5, up to 1 (the conditions of Robbins and Monro)"
        require(is_number(self.power, 0.5, 1) and self.power > 0.5, "power", self.power, allowed)

    def multiplier(self, step: int, total: int) -> float:
        """(1 + rate t / per)^-power."""
        t = min(step, total)
        return float((1.0 + self.rate * t / self.period_steps("per", total)) ** -self.power)
