"""Ackley's function."""

import math
from typing import Any

import torch
from torch import Tensor

from steepest.datasets.data import require
from steepest.objectives.objective import Objective, check_dimension


class Ackley(Objective):
    """An almost flat plain of dents with a funnel in its middle. Ackley 1987, chapter 2; Baeck 1996 for d variables.

        f(x) = 20 + e - 20 exp(-0.2 |x| / sqrt(d)) - exp(1/d sum_i cos(2 pi x_i)),   f(0) = 0

    At the minimum there is a cusp: f has no gradient there (0 is given), and the gradient has no Lipschitz constant.

    Args:
        dimension: d.
        start: of every variable.
        shared: of `Objective`.
    """

    def __init__(self, dimension: int, start: float, **shared: Any) -> None:
        super().__init__(**shared)
        check_dimension(dimension)
        require(math.isfinite(start), "start", start, "finite numbers")
        self.minimum = 0.0
        self.minimizers = torch.zeros(1, dimension, dtype=torch.float64)
        self.start = torch.full((dimension,), start, dtype=torch.float64)

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        radius = torch.linalg.vector_norm(x, dim=-1) / math.sqrt(x.shape[-1])
        waves = torch.cos(2 * math.pi * x).mean(-1)
        return 20 + math.e - 20 * torch.exp(-0.2 * radius) - torch.exp(waves)
