"""A well in a plain."""

import math
from typing import Any

import torch
from torch import Tensor

from steepest.datasets.data import require
from steepest.objectives.objective import Objective, check_dimension


class Plateau(Objective):
    """A well in a plain where gradients vanish: an upturned bell.

        f(x) = 1 - exp(-|x|^2 / 2),   f(0) = 0

    The gradient's length is r exp(-r^2 / 2) at a distance r. The Hessian's eigenvalues lie between -2 exp(-3/2) and
    L = 1.

    Args:
        dimension: d.
        distance: of the start, in the direction of (1, ..., 1).
        shared: of `Objective`.
    """

    def __init__(self, dimension: int, distance: float, **shared: Any) -> None:
        super().__init__(**shared)
        check_dimension(dimension)
        require(0 < distance < math.inf, "distance", distance, "numbers above 0")
        self.minimum, self.L = 0.0, 1.0
        self.minimizers = torch.zeros(1, dimension, dtype=torch.float64)
        self.start = torch.full((dimension,), distance / math.sqrt(dimension), dtype=torch.float64)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        return -torch.expm1(-x.square().sum(-1) / 2)
