"""The function that is hardest for first-order methods."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.datasets.data import require
from steepest.objectives.objective import Objective, check_dimension


class WorstCase(Objective):
    """Convex, and hardest for methods that go by gradients. Nesterov 2018, Lectures on Convex Optimization, 2.1.2.

        f(x) = L/4 ((x_1^2 + sum_{i<d} (x_i - x_{i+1})^2 + x_d^2) / 2 - x_1)
        x*_i = 1 - i / (d + 1),   f* = L/8 (1 / (d + 1) - 1)

    From x = 0 a gradient shows one more variable a step, so that after k steps no such method is below
    L/8 (1 / (k + 1) - 1), the least value where all later variables are 0. For k = (d - 1) / 2 the gap is then at least
    3 L |x*|^2 / (32 (k + 1)^2) (theorem 2.1.7). The Hessian's eigenvalues are L/2 (1 - cos(j pi / (d + 1))) for j from
    1 to d: between 0 and L.

    Args:
        dimension: d.
        lipschitz: L, the bound that they stay below.
        shared: of `Objective`.
    """

    def __init__(self, dimension: int, lipschitz: float, **shared: Any) -> None:
        super().__init__(**shared)
        check_dimension(dimension)
        require(0 < lipschitz < np.inf, "lipschitz", lipschitz, "numbers above 0")
        self.lipschitz = lipschitz
        angles = np.pi * np.array([dimension, 1]) / (dimension + 1)
        self.L, self.mu = (float(bound) for bound in lipschitz / 2 * (1 - np.cos(angles)))
        self.minimum = lipschitz / 8 * (1 / (dimension + 1) - 1)
        self.minimizers = 1 - torch.arange(1, dimension + 1, dtype=torch.float64).unsqueeze(0) / (dimension + 1)
        self.start = torch.zeros(dimension, dtype=torch.float64)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        squares = x[..., 0].square() + x.diff(dim=-1).square().sum(-1) + x[..., -1].square()
        return self.lipschitz / 4 * (squares / 2 - x[..., 0])
