"""Multilayer perceptron for numbers."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.mlp import ACTIVATIONS


class Regressor(nn.Module):
    """Fully connected network from numbers to numbers. Goodfellow et al. 2016, Deep Learning, chapter 6.

        h_0 = vec(x),   h_l = activation(W_l h_{l-1} + b_l),   y = W h_L + b

    Args:
        input_shape: of one input, from the dataset.
        target_shape: of one target, from the dataset.
        hidden: width of every hidden layer, at least one.
        activation: relu, gelu or tanh.

    Initial weights: Glorot uniform (Glorot & Bengio 2010, equation 16); biases 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        target_shape: Sequence[int],
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *checks.widths("hidden", hidden), math.prod(target_shape)]
        activation = checks.choice("activation", activation, ACTIVATIONS)
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(sizes):
            layer = nn.Linear(fan_in, fan_out)
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
            layers += [layer, ACTIVATIONS[activation]()]
        self.layers = nn.Sequential(*layers[:-1], nn.Unflatten(1, tuple(target_shape)))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, ...] to outputs [B, *target_shape]."""
        return self.layers(x)
