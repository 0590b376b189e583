"""Styblinski and Tang's function."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.objectives.objective import Objective, check_dimension


class StyblinskiTang(Objective):
    """2^d minima, one of which is the lowest. Styblinski and Tang 1990, Neural Networks 3.

        f(x) = 1/2 sum_i x_i^4 - 16 x_i^2 + 5 x_i,   f* about -39.166 d at x_i about -2.9035

    The minimum is the least root of 4 x^3 - 32 x + 5. The start is 0, from where the steepest way leads there.

    Args:
        dimension: d.
        shared: of `Objective`.
    """

    def __init__(self, dimension: int, **shared: Any) -> None:
        super().__init__(**shared)
        check_dimension(dimension)
        least = float(np.roots([4, 0, -32, 5]).real.min())
        self.minimizers = torch.full((1, dimension), least, dtype=torch.float64)
        self.start = torch.zeros(dimension, dtype=torch.float64)
        self.minimum = self.value(self.minimizers[0]).item()

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        return (x**4 - 16 * x.square() + 5 * x).sum(-1) / 2
