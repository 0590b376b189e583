"""The environments that an agent learns in."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector import SyncVectorEnv

from steepest.datasets.replayable import unlike
from steepest.datasets.vectorized_cartpole import VectorizedCartPole


class Step(NamedTuple):
    """What a step of N environments led to."""

    rewards: np.ndarray
    """[N]"""
    terminated: np.ndarray
    """[N], bool: the episode came to its end, after which there is no reward."""
    truncated: np.ndarray
    """[N], bool: it was cut off, and could have gone on."""
    successors: np.ndarray
    """float32 [N, ...]: the observations after the actions, where an episode ended its last one."""


class Fleet:
    """N environments that step together; each begins a new episode in the step that ends one.

    Args:
        envs: with the autoreset mode SAME_STEP; of `Replayable` environments, where it is a SyncVectorEnv.
        seed: of the first episodes.
    """

    def __init__(self, envs: SyncVectorEnv | VectorizedCartPole, seed: int) -> None:
        self.envs = envs
        observations, _ = envs.reset(seed=seed)
        self.observations = np.asarray(observations, np.float32)
        """[N, ...], what the next actions are for; the next step writes over it."""
        self.finished: list[tuple[float, int]] = []
        """Return and length of each episode that ended since this was emptied."""
        self._returns = np.zeros(envs.num_envs)
        self._lengths = np.zeros(envs.num_envs, np.int64)

    def __len__(self) -> int:
        return self.envs.num_envs

    def step(self, actions: np.ndarray) -> Step:
        """An action [N] or [N, ...] in each environment."""
        observations, rewards, terminated, truncated, info = self.envs.step(actions)
        self.observations = successors = np.asarray(observations, np.float32)
        self._returns += rewards
        self._lengths += 1
        ends = terminated | truncated
        if ends.any():
            successors = self.observations.copy()
            for number in np.flatnonzero(ends):
                successors[number] = info["final_obs"][number]
                self.finished.append((float(self._returns[number]), int(self._lengths[number])))
            self._returns[ends], self._lengths[ends] = 0.0, 0
        return Step(rewards, terminated, truncated, successors)

    @property
    def _single(self) -> Sequence[Any]:
        """The environments one by one, each a `Replayable`."""
        assert isinstance(self.envs, SyncVectorEnv)
        return self.envs.envs

    def state_dict(self) -> dict[str, Any]:
        """Where the environments stand, of kinds that load without unpickling code."""
        if isinstance(self.envs, SyncVectorEnv):
            places: Any = [env.state_dict() for env in self._single]
        else:
            places = self.envs.state_dict()
        return {
            "places": places,
            "observations": torch.from_numpy(self.observations.copy()),
            "returns": torch.from_numpy(self._returns.copy()),
            "lengths": torch.from_numpy(self._lengths.copy()),
            "finished": [list(episode) for episode in self.finished],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the environments stand there.

        Raises:
            ConfigError: they are not what they were, bit for bit.
        """
        places = state["places"]
        if isinstance(self.envs, SyncVectorEnv):
            found = np.stack([env.load_state_dict(place) for env, place in zip(self._single, places, strict=True)])
        else:
            found = self.envs.load_state_dict(places)
        self.observations = np.asarray(found, np.float32)
        if not np.array_equal(self.observations, state["observations"].numpy(), equal_nan=True):
            raise unlike("its observation is another one")
        self._returns, self._lengths = state["returns"].numpy().copy(), state["lengths"].numpy().copy()
        self.finished = [(total, length) for total, length in state["finished"]]

    def close(self) -> None:
        """Free what the environments hold."""
        self.envs.close()
