"""The values of all actions."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from steepest.models import checks


class QNetwork(nn.Module):
    """For environments with a finite number of actions: what each is worth. Mnih et al. 2015, Nature 518, 529-533.

        Q(s, .) = W relu(W relu(W s + b) + b) + b

    The paper's network sees pictures; this is that of CleanRL for observations of a few numbers (Huang et al. 2022,
    JMLR 23(274)), with torch's own initial weights.

    Args:
        observation_shape: of one observation, which is flattened; from the dataset.
        num_actions: number of values, from the dataset.
        hidden: width of every hidden layer.

    Raises:
        ConfigError: a value out of its range.
    """

    def __init__(
        self, *, observation_shape: Sequence[int], num_actions: int, hidden: Sequence[int] = (120, 84)
    ) -> None:
        super().__init__()
        sizes = [math.prod(observation_shape), *checks.widths("hidden", hidden)]
        layers: list[nn.Module] = [nn.Flatten()]
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], checks.whole("num_actions", num_actions)))

    def forward(self, observations: Tensor) -> Tensor:
        """Observations [B, ...] to values [B, num_actions]."""
        return self.layers(observations)
