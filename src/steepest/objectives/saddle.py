"""A saddle between two minima."""

from typing import Any

import torch
from torch import Tensor

from steepest.objectives.objective import Objective, vector


class Saddle(Objective):
    """A saddle at 0, which gradient descent comes near and leaves slowly. Nesterov 2018, Lectures, example 1.2.2.

        f(x) = x_1^2 / 2 + x_2^4 / 4 - x_2^2 / 2,   f(0, +-1) = -1/4

    On the line x_2 = 0 every gradient leads to the saddle; the start (1, 0.001) lies beside it.

    Args:
        shared: of `Objective`.
    """

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        self.minimum = -0.25
        self.minimizers = torch.stack([vector(0, -1), vector(0, 1)])
        self.start = vector(1, 1e-3)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., 2], [...]."""
        x, y = x.unbind(-1)
        return x.square() / 2 + y**4 / 4 - y.square() / 2
