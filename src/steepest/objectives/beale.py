"""Beale's function."""

from typing import Any

from torch import Tensor

from steepest.objectives.objective import Objective, vector


class Beale(Objective):
    """Flat valleys and steep corners. Beale 1958; More, Garbow and Hillstrom 1981, ACM TOMS 7, problem 5.

        f(x) = (1.5 - x_1 (1 - x_2))^2 + (2.25 - x_1 (1 - x_2^2))^2 + (2.625 - x_1 (1 - x_2^3))^2
        f(3, 0.5) = 0

    Args:
        shared: of `Objective`.
    """

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        self.minimum = 0.0
        self.minimizers = vector(3, 0.5).unsqueeze(0)
        self.start = vector(1, 1)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., 2], [...]."""
        x, y = x.unbind(-1)
        terms = [(c - x * (1 - y**power)).square() for power, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
        return terms[0] + terms[1] + terms[2]
