"""A policy and a value network, for actions that are numbers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steepest.models import checks
from steepest.models.perceptron import perceptron


class GaussianActorCritic(nn.Module):
    """For actions that are vectors of numbers: their means, their deviations, and the value of an observation.

    As `ActorCritic`, with means in place of logits. The logarithms of the standard deviations are parameters, the same
    for all observations (Schulman et al. 2015, arXiv:1502.05477, appendix D).

    Args:
        observation_shape: of one observation, which is flattened; from the dataset.
        action_size: numbers in an action, from the dataset.
        hidden: width of every hidden layer, of both networks.
        log_std: the logarithm of the standard deviations at first.

    Raises:
        ConfigError: a value out of its range.
    """

    def __init__(
        self,
        *,
        observation_shape: Sequence[int],
        action_size: int,
        hidden: Sequence[int] = (64, 64),
        log_std: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = [math.prod(observation_shape), *checks.widths("hidden", hidden)]
        self.mean = perceptron([*sizes, checks.whole("action_size", action_size)], gain=0.01)
        self.log_std = nn.Parameter(torch.full((action_size,), checks.finite("log_std", log_std)))
        self.critic = perceptron([*sizes, 1], gain=1.0)

    def policy(self, observations: Tensor) -> Tensor:
        """Observations [B, ...] to means and logarithms of standard deviations [B, 2 action_size]."""
        mean = self.mean(observations)
        return torch.cat([mean, self.log_std.to(mean.dtype).expand_as(mean)], -1)

    def value(self, observations: Tensor) -> Tensor:
        """Observations [B, ...] to values [B]."""
        return self.critic(observations).squeeze(-1)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [B, ...] to what `policy` and `value` give."""
        return self.policy(observations), self.value(observations)
