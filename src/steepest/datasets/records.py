"""Records in memory: a row of each of several tensors makes an example."""

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from torch import Tensor

from steepest.datasets.data import require
from steepest.datasets.order import Bounds

NARROW = {torch.int32: torch.int64, torch.uint8: torch.int64}
"""What is kept small in memory and made larger in a batch."""


class Records:
    """Tensors of N rows each, on one device.

    Args:
        columns: [N, ...] each; whole numbers may be kept as int32 or uint8, and come in batches as int64.
    """

    def __init__(self, *columns: Tensor) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def subset(self, indices: Tensor) -> Self:
        """Copy of these examples, in this order."""
        return type(self)(*(column.index_select(0, indices) for column in self.columns))

    def to(self, device: torch.device) -> Self:
        """The same examples on this device; no copy where they are there already."""
        return type(self)(*(column.to(device) for column in self.columns))

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, ...]]:
        """The examples `order[start:stop]` of each pair of bounds."""
        for start, stop in bounds:
            indices = order[start:stop].to(self.columns[0].device)  # cut before: XLA compiles each cut of its own anew
            rows = (column.index_select(0, indices) for column in self.columns)
            yield tuple(row.to(NARROW.get(row.dtype, row.dtype)) for row in rows)


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise ConfigError unless both shares leave something for training."""
    require(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "numbers from 0 to below 1")
    allowed = "numbers from 0 that with dataset.validation_fraction stay below 1"
    require(test_fraction >= 0 and validation_fraction + test_fraction < 1, "test_fraction", test_fraction, allowed)


def shuffled_parts(count: int, validation_fraction: float, test_fraction: float, seed: int) -> dict[str, Tensor]:
    """The numbers 0 to count - 1 dealt out at random to train, val and test, int64 and ascending in each."""
    order = torch.from_numpy(np.random.default_rng([seed]).permutation(count))
    return dealt(order, round(validation_fraction * count), round(test_fraction * count))


def dealt(order: Tensor, num_val: int, num_test: int) -> dict[str, Tensor]:
    """Test takes the last entries of an order, validation those before, training the rest; ascending in each."""
    cut = len(order) - num_test
    parts = {"train": order[: cut - num_val], "val": order[cut - num_val : cut], "test": order[cut:]}
    return {name: part.sort().values for name, part in parts.items()}


def counts_of(ids: Tensor, field_sizes: list[int]) -> list[Tensor]:
    """How often each row of each field stands in ids [N, fields]: an int64 tensor [rows] a field."""
    return [torch.bincount(ids[:, field].long(), minlength=size) for field, size in enumerate(field_sizes)]
