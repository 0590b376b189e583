"""Rosenbrock's valley."""

from typing import Any

import torch
from torch import Tensor

from steepest.objectives.objective import Objective, check_dimension


class Rosenbrock(Objective):
    """A narrow curved valley. Rosenbrock 1960, The Computer Journal 3, equation 1; the sum is the usual extension.

        f(x) = sum_{i<d} 100 (x_{i+1} - x_i^2)^2 + (1 - x_i)^2,   f(1, ..., 1) = 0

    The start is (-1.2, 1, -1.2, 1, ...). With 4 to 30 variables there is a local minimum near (-1, 1, ..., 1) too
    (Kok and Sandrock 2009, Evolutionary Computation 17). At the minimum of d = 2 the Hessian's eigenvalues are 0.4 and
    1002.

    Args:
        dimension: d, at least 2.
        shared: of `Objective`.
    """

    def __init__(self, dimension: int, **shared: Any) -> None:
        super().__init__(**shared)
        check_dimension(dimension, 2)
        self.minimum = 0.0
        self.minimizers = torch.ones(1, dimension, dtype=torch.float64)
        self.start = torch.ones(dimension, dtype=torch.float64)
        self.start[::2] = -1.2

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        here, there = x[..., :-1], x[..., 1:]
        return (100 * (there - here.square()).square() + (1 - here).square()).sum(-1)
