"""What an agent remembers of its past."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Transitions(NamedTuple):
    """Steps of the environments: what was seen, done, got, and seen then."""

    observations: Tensor
    """[B, ...]"""
    actions: Tensor
    """int64 [B]"""
    rewards: Tensor
    """float32 [B]"""
    successors: Tensor
    """[B, ...], where an episode ended its last observation"""
    terminated: Tensor
    """bool [B]; an episode that was cut off is not"""


class Replay:
    """The latest transitions, to draw from. Lin 1992, Machine Learning 8, 293-321.

    Args:
        capacity: transitions; each takes two observations in float32 and 13 bytes, in memory and in checkpoints.
        observation_shape: of one observation.
    """

    def __init__(self, capacity: int, observation_shape: tuple[int, ...]) -> None:
        self.capacity = capacity
        self._kept: tuple[np.ndarray, ...] = (
            np.zeros((capacity, *observation_shape), np.float32),
            np.zeros(capacity, np.int64),
            np.zeros(capacity, np.float32),
            np.zeros((capacity, *observation_shape), np.float32),
            np.zeros(capacity, bool),
        )
        self._size = 0
        self._next = 0

    def __len__(self) -> int:
        return self._size

    def add(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        successors: np.ndarray,
        terminated: np.ndarray,
    ) -> None:
        """Keep N transitions, arrays as those of `Transitions`, in place of the oldest where all room is taken."""
        places = (self._next + np.arange(len(actions))) % self.capacity
        for kept, new in zip(self._kept, (observations, actions, rewards, successors, terminated), strict=True):
            kept[places] = new
        self._next = int(self._next + len(actions)) % self.capacity
        self._size = min(self._size + len(actions), self.capacity)

    def draw(self, random: np.random.Generator, count: int) -> Transitions:
        """So many transitions, each any of those kept, with repetition."""
        places = random.integers(self._size, size=count)
        return Transitions(*(torch.from_numpy(kept[places]) for kept in self._kept))

    def state_dict(self) -> dict[str, Any]:
        """All that is kept, as tensors, and where the next one goes."""
        return {"kept": [torch.from_numpy(kept[: self._size].copy()) for kept in self._kept], "next": self._next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take it over."""
        self._size, self._next = len(state["kept"][1]), state["next"]
        for kept, loaded in zip(self._kept, state["kept"], strict=True):
            kept[: self._size] = loaded.numpy()
