"""A policy and a value network, apart from each other."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.perceptron import perceptron


class ActorCritic(nn.Module):
    """For environments with a finite number of actions: logits of the actions, and the value of an observation.

        logits = W tanh(W tanh(W s + b) + b) + b,   V likewise, with weights of its own

    Schulman et al. 2017, arXiv:1707.06347, section 6.1. Initial weights: orthogonal (Saxe et al. 2014,
    arXiv:1312.6120), times sqrt(2) in the hidden layers, 0.01 for the logits, so that at first all actions are equally
    likely, and 1 for the value; biases 0 (Huang et al. 2022, "The 37 implementation details of PPO", detail 2).

    Args:
        observation_shape: of one observation, which is flattened; from the dataset.
        num_actions: number of logits, from the dataset.
        hidden: width of every hidden layer, of both networks.

    Raises:
        ConfigError: a value out of its range.
    """

    def __init__(self, *, observation_shape: Sequence[int], num_actions: int, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        sizes = [math.prod(observation_shape), *checks.widths("hidden", hidden)]
        self.policy = perceptron([*sizes, checks.whole("num_actions", num_actions)], gain=0.01)
        self.critic = perceptron([*sizes, 1], gain=1.0)

    def value(self, observations: Tensor) -> Tensor:
        """Observations [B, ...] to values [B]."""
        return self.critic(observations).squeeze(-1)

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Observations [B, ...] to logits [B, num_actions] and values [B]."""
        return self.policy(observations), self.value(observations)
