"""From the outputs of a policy network to actions and their probabilities."""

import math
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from torch import Tensor

from steepest.optimizers.natural_gradient import kl_divergence


class Policy(Protocol):
    """A distribution over actions, given a network's outputs [B, num_outputs]."""

    num_outputs: int
    meaning: str
    """What the outputs are, in words."""

    def noise(self, random: np.random.Generator, *shape: int) -> np.ndarray:
        """What `act` needs by chance, float32 [*shape, ...]."""
        ...

    def act(self, outputs: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        """Actions [B, ...]: drawn, or the most probable ones without noise."""
        ...

    def for_environment(self, actions: np.ndarray) -> np.ndarray:
        """The actions as the environment takes them."""
        ...

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Of each action [B] the logarithm of its probability (or density), of each distribution [B] the entropy."""
        ...

    def divergence(self, outputs: Tensor) -> Tensor:
        """The mean KL divergence from the distributions, held fixed, to themselves: 0, but for its graph."""
        ...


def policy_of(space: Any) -> Policy:
    """The policy for a space of actions."""
    return Categorical(space) if isinstance(space, Discrete) else Gaussian(space)


class Categorical:
    """Actions to choose from; the outputs are their logits."""

    meaning = "a number for each action"

    def __init__(self, space: Discrete) -> None:
        self.num_outputs, self.start = int(space.n), int(space.start)

    def noise(self, random: np.random.Generator, *shape: int) -> np.ndarray:
        """Gumbel's: an argmax with it draws from softmax(logits)."""
        return random.gumbel(size=(*shape, self.num_outputs)).astype(np.float32)

    def act(self, outputs: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        """Numbers from 0, int64 [B]."""
        return (outputs if noise is None else outputs + noise).argmax(-1)

    def for_environment(self, actions: np.ndarray) -> np.ndarray:
        """Numbers from the space's first."""
        return actions + self.start if self.start else actions

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The logits' log p(a), and - sum p log p."""
        log_p = F.log_softmax(outputs, -1)
        return log_p.gather(1, actions[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)

    def divergence(self, outputs: Tensor) -> Tensor:
        """Mean of sum q (log q - log p)."""
        return kl_divergence(outputs)


class Gaussian:
    """Vectors of numbers, each number by itself; the outputs are means, then logarithms of standard deviations."""

    meaning = "a mean and the logarithm of a standard deviation for each number of an action"

    def __init__(self, space: Box) -> None:
        self.size = int(space.shape[0])
        self.num_outputs = 2 * self.size
        self.low, self.high, self.dtype = space.low, space.high, space.dtype

    def noise(self, random: np.random.Generator, *shape: int) -> np.ndarray:
        """Standard normal."""
        return random.standard_normal((*shape, self.size), np.float32)

    def act(self, outputs: np.ndarray, noise: np.ndarray | None) -> np.ndarray:
        """The mean, + deviation noise, float32 [B, size]."""
        mean, log_std = outputs[:, : self.size], outputs[:, self.size :]
        return mean if noise is None else mean + np.exp(log_std) * noise

    def for_environment(self, actions: np.ndarray) -> np.ndarray:
        """No further than the space goes."""
        return actions.clip(self.low, self.high).astype(self.dtype)

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Sums over an action's numbers.

        log p(a) = - ((a - mean)^2 / std^2 + log 2 pi) / 2 - log std,   H = log std + (1 + log 2 pi) / 2
        """
        mean, log_std = outputs.chunk(2, -1)
        distance = ((actions - mean) * (-log_std).exp()).square()
        log_2_pi = math.log(2 * math.pi)
        return (-(distance + log_2_pi) / 2 - log_std).sum(-1), (log_std + (1 + log_2_pi) / 2).sum(-1)

    def divergence(self, outputs: Tensor) -> Tensor:
        """Mean of sum (log p_std - log q_std) + (q_std^2 + (q_mean - p_mean)^2) / (2 p_std^2) - 1/2."""
        mean, log_std = outputs.chunk(2, -1)
        q_mean, q_log_std = mean.detach(), log_std.detach()
        ratio = (2 * (q_log_std - log_std)).exp() + ((q_mean - mean) * (-log_std).exp()).square()
        return (log_std - q_log_std + (ratio - 1) / 2).sum(-1).mean()


def as_array(outputs: Tensor) -> np.ndarray:
    """Outputs on the CPU, at least float32."""
    return outputs.float().cpu().numpy() if outputs.dtype != torch.float64 else outputs.cpu().numpy()
