"""A point in space."""

import torch
from torch import Tensor, nn

from steepest.models import checks


class Point(nn.Module):
    """The variables of an objective function, as parameters of a network are.

    Args:
        start: where to begin, [d], from the dataset.
        spread: standard deviation of a random offset from there.

    As the weights of any model it begins in single precision. Wrong values raise `ConfigError`.
    """

    def __init__(self, *, start: Tensor, spread: float = 0.0) -> None:
        super().__init__()
        if spread != 0:
            checks.positive("spread", spread)
        offset = spread * torch.randn(start.shape, dtype=torch.float64) if spread else torch.zeros_like(start)
        self.x = nn.Parameter((start + offset).to(torch.get_default_dtype()))

    def forward(self) -> Tensor:
        """The point, [d]."""
        return self.x
