"""What the tasks of reinforcement learning share: how an agent is judged and shown."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

ACT, SHUFFLE, EVALUATE = 3, 4, 5
"""What the random numbers of a task begin with, after those of its environments (`datasets.environments`)."""
FRAMES = 200


def publish(task: Any, split: str) -> None:
    """Let the agent play the episodes of a split, and log `<split>/return` and `<split>/length`, their means."""
    episodes = task.data.play(split, task.agent())
    for name, values in (("return", episodes.returns), ("length", episodes.lengths)):
        task.log(f"{split}/{name}", torch.from_numpy(values).double().mean(), logger=False, batch_size=1)


def note_episodes(task: Any) -> None:
    """Count in the episodes that ended in training."""
    for total, length in task.fleet.finished:
        task.train_means["episodic_return"].add(torch.tensor(total))
        task.train_means["episodic_length"].add(torch.tensor(float(length)))
    task.fleet.finished.clear()


def film(task: Any) -> dict[str, Any]:
    """Frames of an episode of the agent, by name; none where the environment cannot draw itself, which is said."""
    try:
        with no_window():
            return {"episode": task.data.film(task.agent(), FRAMES)}
    except (gymnasium.error.Error, ImportError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
        logging.getLogger("steepest").warning("There are no pictures of the agent (%s).", reason)
        return {}


@contextmanager
def no_window() -> Iterator[None]:
    """Let pygame draw where there is no screen."""
    before = os.environ.get("SDL_VIDEODRIVER")
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    try:
        yield
    finally:
        del os.environ["SDL_VIDEODRIVER"]
        if before is not None:
            os.environ["SDL_VIDEODRIVER"] = before


def like(parameter: Tensor, values: np.ndarray) -> Tensor:
    """Observations as a model with such parameters takes them."""
    return torch.from_numpy(values).to(parameter.device, parameter.dtype)
