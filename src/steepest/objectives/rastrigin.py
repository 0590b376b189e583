"""Rastrigin's function."""

import math
from typing import Any

import torch
from torch import Tensor

from steepest.datasets.data import require
from steepest.objectives.objective import Objective, check_dimension


class Rastrigin(Objective):
    """A bowl full of dents: a local minimum near every point of whole numbers. Rastrigin 1974.

        f(x) = 10 d + sum_i x_i^2 - 10 cos(2 pi x_i),   f(0) = 0

    The Hessian's eigenvalues lie between 2 - 40 pi^2 and L = 2 + 40 pi^2.

    Args:
        dimension: d.
        start: of every variable.
        shared: of `Objective`.
    """

    def __init__(self, dimension: int, start: float, **shared: Any) -> None:
        super().__init__(**shared)
        check_dimension(dimension)
        require(math.isfinite(start), "start", start, "finite numbers")
        self.minimum, self.L = 0.0, 2 + 40 * math.pi**2
        self.minimizers = torch.zeros(1, dimension, dtype=torch.float64)
        self.start = torch.full((dimension,), start, dtype=torch.float64)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        return (x.square() + 10 * (1 - torch.cos(2 * math.pi * x))).sum(-1)
