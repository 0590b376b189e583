"""Environments of Gymnasium, in which an agent makes its own data."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from steepest.datasets.data import Data, is_count, require
from steepest.datasets.episodes import Act, Episodes, film, play
from steepest.datasets.fleet import Fleet
from steepest.datasets.gymnasium_make import check_module, make, sentence, usable
from steepest.datasets.loader import Batch
from steepest.datasets.replayable import Replayable
from steepest.datasets.turns import Turns
from steepest.datasets.vectorized_cartpole import VectorizedCartPole
from steepest.errors import ConfigError, shown

TRAIN, VAL, TEST = range(3)
"""What the random numbers of training, validation and test begin with, after the seed."""
CARTPOLE = "CartPole-v1"


class Environments(Data):
    """Environments with a finite number of actions, or with vectors of numbers as actions.

    Observations that are no arrays are flattened to one: of a number below n, that is n zeros with a 1.

    Args:
        name: of the data set, for messages.
        id: of the environment, as `gymnasium.make` knows it.
        options: further arguments of `gymnasium.make`.
        vectorized: all environments as a few arrays, faster for many; CartPole alone is made so.
        num_envs: environments that the agent learns in at once.
        epoch_steps: steps of the environments that count as an epoch.
        val_episodes, test_episodes: whole episodes of a validation and of the test.
        eval_seed: of these episodes, the same for every run seed.

    Raises:
        ConfigError: a value out of its range, an environment that is unknown, or for which a package is missing.
    """

    observation_shape: tuple[int, ...]
    action_space: Discrete | Box

    def __init__(
        self,
        name: str,
        id: str,  # noqa: A002  Gymnasium's word for it
        options: Mapping[str, Any],
        vectorized: bool,
        num_envs: int,
        epoch_steps: int,
        val_episodes: int,
        test_episodes: int,
        eval_seed: int,
    ) -> None:
        super().__init__(name, eval_batch_size=1)
        counts = {"num_envs": num_envs, "epoch_steps": epoch_steps}
        counts |= {"val_episodes": val_episodes, "test_episodes": test_episodes}
        for key, value in counts.items():
            require(is_count(value, 1), key, value, "whole numbers from 1")
        require(is_count(eval_seed, 0), "eval_seed", eval_seed, "whole numbers from 0")
        require(isinstance(vectorized, bool), "vectorized", vectorized, "true and false")
        require(not vectorized or id == CARTPOLE, "vectorized", f"true with dataset.id={id}", f"false, and {CARTPOLE}")
        taken = [key for key in ("id", "render_mode", "disable_env_checker") if key in options]
        require(not taken, "options", shown(options), f"arguments of gymnasium.make other than {taken and taken[0]}")
        check_module(id)
        self.id, self.options, self.vectorized = id, dict(options), vectorized
        self.num_envs, self.eval_seed = num_envs, eval_seed
        self.num_train, self.num_val, self.num_test = epoch_steps, val_episodes, test_episodes
        self._evaluated: dict[str, list[gymnasium.Env]] = {}
        self._seed = 0
        self._steps_per_epoch = 0

    def setup(self, stage: str | None = None) -> None:
        """Look at one of the environments; the second call does nothing."""
        if not hasattr(self, "action_space"):
            env = make(self.id, self.options)
            shape, space = env.observation_space.shape, env.action_space
            env.close()
            if self.vectorized:
                self._vectorized().close()
            assert shape is not None
            self.observation_shape, self.action_space = shape, usable(space, self.id)

    @property
    def num_actions(self) -> int:
        """The number of actions, where they are finite.

        Raises:
            ConfigError: they are not.
        """
        if isinstance(self.action_space, Box):
            raise ConfigError(
                f"dataset.id={self.id} has vectors of numbers as actions; allowed is task=ppo with "
                "model=gaussian_actor_critic, or an environment with a finite number of actions."
            )
        return int(self.action_space.n)

    @property
    def action_size(self) -> int:
        """The length of an action, where actions are vectors of numbers.

        Raises:
            ConfigError: they are not.
        """
        if isinstance(self.action_space, Discrete):
            raise ConfigError(
                f"dataset.id={self.id} has {self.action_space.n} actions to choose from; allowed is a model for such, "
                "as actor_critic and q_network are."
            )
        return int(self.action_space.shape[0])

    def fleet(self) -> Fleet:
        """The environments of training, at the beginning of their first episodes."""
        seed = int(self.random(TRAIN, self._seed).integers(2**31))
        if self.vectorized:
            return Fleet(self._vectorized(), seed)
        envs = [lambda: Replayable(make(self.id, self.options))] * self.num_envs
        return Fleet(SyncVectorEnv(envs, copy=False, autoreset_mode=AutoresetMode.SAME_STEP), seed)

    def play(self, split: str, act: Act) -> Episodes:
        """The episodes of `val` or `test`, the same beginnings each time."""
        count, number = (self.num_val, VAL) if split == "val" else (self.num_test, TEST)
        if split not in self._evaluated:
            self._evaluated[split] = [make(self.id, self.options) for _ in range(count)]
        seeds = self.random(number, self.eval_seed).integers(2**31, size=count).tolist()
        return play(self._evaluated[split], act, seeds)

    def film(self, act: Act, most: int) -> list[np.ndarray]:
        """Pictures of the test's first episode, at most `most`.

        Raises:
            gymnasium.error.Error: the environment cannot draw itself.
        """
        env = make(self.id, self.options, render_mode="rgb_array")
        try:
            return film(env, act, int(self.random(TEST, self.eval_seed).integers(2**31)), most)
        finally:
            env.close()

    @staticmethod
    def random(*numbers: int) -> np.random.Generator:
        """Random numbers, a function of these numbers alone."""
        return np.random.default_rng(numbers)

    @property
    def seed(self) -> int:
        """Of the run."""
        return self._seed

    def attach(
        self, *, batch_size: int, accumulate: int = 1, exact: bool = False, seed: int = 0, steps_per_epoch: int = 0
    ) -> None:
        """Say how many turns an epoch has; the task cuts batches by itself."""
        self._seed, self._steps_per_epoch = seed, steps_per_epoch

    def blank_batch(self, size: int) -> Batch:
        """Observations [size, ...] on the device `meta`."""
        return (torch.empty(size, *self.observation_shape, device="meta"),)

    def train_dataloader(self) -> Any:
        """Turns, of one optimizer step each."""
        return Turns(self._steps_per_epoch)

    def val_dataloader(self) -> Any:
        """One turn: all episodes."""
        return Turns(1)

    def test_dataloader(self) -> Any:
        """One turn: all episodes."""
        return Turns(1)

    def predict_dataloader(self) -> Any:
        """One turn: all episodes."""
        return Turns(1)

    def teardown(self, stage: str) -> None:
        """Free what the environments of evaluation hold."""
        for envs in self._evaluated.values():
            for env in envs:
                env.close()
        self._evaluated = {}

    def describe(self) -> str:
        """What it is, in a line."""
        return f"{self.id}, observations of shape {self.observation_shape}, actions {self.action_space}"

    def _vectorized(self) -> VectorizedCartPole:
        try:
            return VectorizedCartPole(self.num_envs, **self.options)
        except TypeError as error:
            raise ConfigError(
                f"dataset.options={shown(self.options)} cannot be vectorised ({sentence(error)}); allowed are "
                "max_episode_steps and sutton_barto_reward, or dataset.vectorized=false."
            ) from None
