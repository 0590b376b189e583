"""Himmelblau's function."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.objectives.objective import Objective, vector


class Himmelblau(Objective):
    """Four equal minima. Himmelblau 1972, Applied Nonlinear Programming, page 428.

        f(x) = (x_1^2 + x_2 - 11)^2 + (x_1 + x_2^2 - 7)^2,   f(3, 2) = 0 and three more

    The others are roots of a polynomial: x_2 = 11 - x_1^2 put into the second bracket.

    Args:
        shared: of `Objective`.
    """

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        self.minimum = 0.0
        firsts = np.sort(np.roots([1, 0, -22, 1, 114]).real)  # x_1 + (11 - x_1^2)^2 - 7
        self.minimizers = torch.stack([vector(first, 11 - first**2) for first in firsts])
        self.start = vector(0, 0)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., 2], [...]."""
        x, y = x.unbind(-1)
        return (x.square() + y - 11).square() + (x + y.square() - 7).square()
