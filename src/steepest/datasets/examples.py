"""What a source of images hands over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from steepest.datasets.order import Bounds


class Examples(Protocol):
    """Labelled images, in memory or streamed."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        ...

    def __len__(self) -> int: ...

    def subset(self, indices: Tensor) -> "Examples":
        """These examples, in this order."""
        ...

    def to(self, device: torch.device) -> "Examples":
        """The same examples, whose batches come on this device."""
        ...

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor]]:
        """(uint8 [B, C, H, W], int64 [B]) of `order[start:stop]` for each pair of bounds."""
        ...


@dataclass(frozen=True)
class Source:
    """A data set as its files give it."""

    train: Examples
    test: Examples
    class_names: list[str]
