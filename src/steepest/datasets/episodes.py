"""Whole episodes, to see what an agent can do."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import gymnasium
import numpy as np

LONGEST = 100_000
"""Steps after which an episode that does not end counts as it stands."""

Act = Callable[[np.ndarray], np.ndarray]
"""From observations float32 [n, ...] to actions [n, ...]."""


class Episodes(NamedTuple):
    """What became of n episodes."""

    returns: np.ndarray
    """float64 [n], the sums of their rewards."""
    lengths: np.ndarray
    """int64 [n], in steps."""


def play(envs: Sequence[gymnasium.Env], act: Act, seeds: Sequence[int]) -> Episodes:
    """One episode in each environment, whatever it takes: the first to end would be the short ones.

    Args:
        envs: as many as seeds.
        act: the agent.
        seeds: of each episode.
    """
    returns, lengths = np.zeros(len(envs)), np.zeros(len(envs), np.int64)
    observations = np.stack([np.float32(env.reset(seed=seed)[0]) for env, seed in zip(envs, seeds, strict=True)])
    running = list(range(len(envs)))
    while running:
        going = []
        for number, action in zip(running, act(observations[running]), strict=True):
            observations[number], reward, terminated, truncated, _ = envs[number].step(action)
            returns[number] += reward
            lengths[number] += 1
            if not (terminated or truncated or lengths[number] == LONGEST):
                going.append(number)
        running = going
    return Episodes(returns, lengths)


def film(env: gymnasium.Env, act: Act, seed: int, most: int) -> list[np.ndarray]:
    """Pictures uint8 [H, W, 3] of one episode, evenly spaced in time and at most `most`.

    Args:
        env: with the render_mode rgb_array.
        act: the agent.
        seed: of the episode.
        most: pictures.
    """
    observation, _ = env.reset(seed=seed)
    frames, every, step, ends = [env.render()], 1, 0, False
    while not ends and step < LONGEST:
        observation, _, terminated, truncated, _ = env.step(act(np.asarray(observation, np.float32)[None])[0])
        step, ends = step + 1, terminated or truncated
        if step % every == 0:
            frames.append(env.render())
        if len(frames) > most:
            frames, every = frames[::2], 2 * every
    return [np.asarray(frame, np.uint8) for frame in frames]
