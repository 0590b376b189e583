"""Losses evaluated beside the training, of which nothing remains."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from steepest.callbacks.recorder import train_means
from steepest.tasks import draws


@contextmanager
def aside(task: Any, seed: int) -> Iterator[None]:
    """Let the body evaluate `task.loss`, in training mode and precision, and put back all that this changes.

    That is random number generators, the task's own among them; buffers, such as batch normalisation's statistics;
    counters; and running means. Gradients are the body's care: it takes them by `torch.autograd.grad`.

    Args:
        task: a LightningModule in training.
        seed: of the random numbers in the body, so that they are the same in a resumed run.
    """
    generators = [own for module in task.modules() for own in vars(module).values() if isinstance(own, torch.Generator)]
    means = [task.train_loss, *train_means(task).values()]
    states = [mean.state_dict() for mean in means]
    drawn = [generator.get_state() for generator in generators]
    counters = task.counters.state_dict()
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    try:
        with draws.put_back(task.device):
            draws.seed(seed)
            random.seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            with task.trainer.precision_plugin.train_step_context(), torch.enable_grad():
                yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for generator, state in zip(generators, drawn, strict=True):
            generator.set_state(state)
        for mean, state in zip(means, states, strict=True):
            mean.load_state_dict(state)
        task.counters.load_state_dict(counters)
        with torch.no_grad():
            for buffer, kept in buffers:
                buffer.copy_(kept)
