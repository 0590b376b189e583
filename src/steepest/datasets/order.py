"""Which examples a batch holds: pure functions of the seed, the epoch and the sizes, so that a resume needs no state.

A batch is a pair (start, stop) of bounds into the epoch's order.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from steepest.errors import ConfigError

Bounds = Sequence[tuple[int, int]]


def epoch_order(seed: int, epoch: int, num_examples: int) -> Tensor:
    """A permutation of the examples, int64 [num_examples], a function of the seed and the epoch alone."""
    return torch.from_numpy(np.random.default_rng([seed, epoch, 0]).permutation(num_examples))


def augmentation_generator(seed: int, epoch: int) -> np.random.Generator:
    """The random numbers of an epoch's augmentation, independent of its order and of every other generator."""
    return np.random.default_rng([seed, epoch, 1])


def holdout(num_examples: int, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Split examples at random in two: (kept, held out), int64 and ascending; `round(fraction * n)` are held out."""
    order = torch.from_numpy(np.random.default_rng([seed]).permutation(num_examples))
    count = round(fraction * num_examples)
    return order[count:].sort().values, order[:count].sort().values


def equal_batches(num_examples: int, batch_size: int, accumulate: int, rank: int, world: int) -> Bounds:
    """The batches of one rank, all of `batch_size`, for as many whole optimizer steps as the examples give.

    A step takes `accumulate` global batches, and rank r the r-th of the `world` parts of each, so that the ranks
    together see what one rank with a batch `world` times as large sees.

    Raises:
        ConfigError: one optimizer step asks for more examples than there are.
    """
    step = batch_size * accumulate * world
    if batch_size < 1 or step > num_examples:
        raise ConfigError(
            f"batch.size={step} is not possible with {num_examples} training examples: "
            f"allowed are 1 to {num_examples} examples per optimizer step."
        )
    batches = num_examples // step * accumulate
    return [(start := (index * world + rank) * batch_size, start + batch_size) for index in range(batches)]


def even_batches(num_examples: int, batches: int, rank: int, world: int) -> Bounds:
    """Every example exactly once, in `batches` batches for each rank, whose sizes differ by at most one.

    Every rank gets the same number of batches, since ranks that communicate in a forward pass would wait for ever for
    a batch that one of them lacks; with fewer examples than `batches * world` some are empty.
    """
    small, larger = divmod(num_examples, max(1, batches * world))
    starts = [chunk * small + min(chunk, larger) for chunk in range(batches * world + 1)]
    return [(starts[chunk], starts[chunk + 1]) for chunk in range(rank, batches * world, world)]
