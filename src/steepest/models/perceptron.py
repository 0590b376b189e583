"""The networks of agents."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def perceptron(sizes: Sequence[int], gain: float) -> nn.Sequential:
    """Linear layers with tanh between them, of these widths, for inputs of any shape [B, ...].

    Args:
        sizes: numbers of inputs, of hidden units, and of outputs.
        gain: what the last layer's orthogonal weights are multiplied by; the others' by sqrt(2). Biases are 0.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for fan_in, fan_out in pairwise(sizes):
        last = nn.Linear(fan_in, fan_out)
        nn.init.orthogonal_(last.weight, math.sqrt(2.0))
        nn.init.zeros_(last.bias)
        layers += [last, nn.Tanh()]
    del layers[-1]
    nn.init.orthogonal_(last.weight, gain)
    return nn.Sequential(*layers)
