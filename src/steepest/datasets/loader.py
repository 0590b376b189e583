"""The loader of every data set: whole batches, and a position from which a resumed run goes on exactly."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from steepest.datasets.augment import Augment
from steepest.datasets.order import Bounds, augmentation_generator, epoch_order, equal_batches, even_batches
from steepest.errors import ConfigError

Batch = tuple[Tensor, ...]
Fetch = Callable[[Tensor, Bounds], Iterator[Batch]]


class Loader:
    """Yields batches, tuples of tensors of B rows each; a batch is a pure function of (seed, epoch, its number).

    Training (`shuffle=True`): every batch has `batch_size` examples and every optimizer step `accumulate` batches;
    the rest of the epoch's order is left out, another rest in each epoch. With `exact` one step takes every example
    exactly once, in `accumulate` batches whose sizes differ by at most one, and that is the epoch.
    Evaluation (`shuffle=False`): every example once and in its own order, at most `batch_size` in a batch.

    Several ranks share each of these global batches; see `order.py`. In an evaluation of fewer examples than ranks
    some ranks get an empty batch.

    Lightning saves and restores the position through `state_dict` and `load_state_dict`. `iter()` goes on from a
    loaded position, else from the start of the epoch: the next one after a complete one, the same one if the last
    iteration was given up.

    Args:
        fetch: from an order, int64 [n], and the bounds of batches in it to the batches.
        num_examples: how many examples `fetch` knows.
        batch_size: examples in a batch of one rank; unused with `exact`.
        augment: changes the first tensor of a batch, images from uint8 to float32; None: as it is.
        order: from (seed, epoch) to what stands for each example, int64 [n]; seed None: in the order of evaluation.
            None: a permutation of their numbers.
        rank, world: this process among how many; None: as torch.distributed has it when it matters.
    """

    def __init__(
        self,
        fetch: Fetch,
        num_examples: int,
        batch_size: int,
        *,
        augment: Augment | None = None,
        order: Callable[[int | None, int], Tensor] | None = None,
        seed: int = 0,
        accumulate: int = 1,
        shuffle: bool = True,
        exact: bool = False,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        self.fetch = fetch
        self.num_examples = num_examples
        self.batch_size = batch_size
        self.augment = augment
        self.order = order
        self.seed = seed
        self.accumulate = accumulate
        self.shuffle = shuffle
        self.exact = exact
        self.rank = rank
        self.world = world
        self._epoch = 0
        self._batch = 0  # the next one of this epoch
        self._resumes = False
        self._turn = 0  # counts the calls of iter(); only the last iterator writes the position

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds())

    def __iter__(self) -> Iterator[Batch]:
        if not self._resumes:
            self._batch = 0
        self._turn += 1
        return self._iterate(self._turn)

    def state_dict(self) -> dict[str, int]:
        """The position after the last yielded batch; after an epoch's last one, the start of the next epoch."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration begins at this position."""
        self._epoch, self._batch, self._resumes = state["epoch"], state["batch"], True

    def _iterate(self, turn: int) -> Iterator[Batch]:
        self._resumes = False
        epoch, done, bounds = self._epoch, self._batch, self._bounds()
        if done and done >= len(bounds):
            raise ConfigError(
                f"The checkpoint goes on at batch {done} of an epoch, but batch.size={self.batch_size} gives "
                f"{len(bounds)} batches per epoch; resume with the batch size that the run began with."
            )
        draws = None
        if self.augment is not None and self.shuffle:
            draws = self.augment.draw(augmentation_generator(self.seed, epoch), self.num_examples)
        for first, *rest in self.fetch(self._order(epoch), bounds[done:]):
            start, stop = bounds[done]
            done += 1
            if self.augment is not None:
                first = self.augment(first, draws if draws is None else draws[:, start:stop].to(first.device))
            if turn == self._turn:  # before the yield: a consumer that counts batches never comes back after the last
                self._epoch, self._batch = (epoch, done) if done < len(bounds) else (epoch + 1, 0)
            yield (first, *rest)

    def _order(self, epoch: int) -> Tensor:
        if self.order is not None:
            return self.order(self.seed if self.shuffle else None, epoch)
        return epoch_order(self.seed, epoch, self.num_examples) if self.shuffle else torch.arange(self.num_examples)

    def _bounds(self) -> Bounds:
        rank, world = self._place()
        if self.exact:
            if not 1 <= self.accumulate * world <= self.num_examples:
                raise ConfigError(
                    f"{self.num_examples} training examples cannot be cut into {self.accumulate * world} micro "
                    f"batches; raise batch.micro_size."
                )
            return even_batches(self.num_examples, self.accumulate, rank, world)
        if self.shuffle:
            return equal_batches(self.num_examples, self.batch_size, self.accumulate, rank, world)
        return even_batches(self.num_examples, -(-self.num_examples // (self.batch_size * world)), rank, world)

    def _place(self) -> tuple[int, int]:
        if self.rank is not None and self.world is not None:
            return self.rank, self.world
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1
