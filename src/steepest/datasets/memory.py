"""Images that fit in memory: two tensors, from which batches are gathered."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from steepest.datasets.order import Bounds


class MemoryImages:
    """Decoded images, uint8 [N, C, H, W], and their labels, int64 [N], on one device."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    def subset(self, indices: Tensor) -> Self:
        """Copy of these examples, in this order."""
        return type(self)(self.images.index_select(0, indices), self.labels.index_select(0, indices))

    def to(self, device: torch.device) -> Self:
        """The same examples on this device; no copy where they are there already."""
        return type(self)(self.images.to(device), self.labels.to(device))

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor]]:
        """The examples `order[start:stop]` of each pair of bounds."""
        for start, stop in bounds:
            indices = order[start:stop].to(self.images.device)  # cut before: XLA compiles each cut of its own anew
            yield self.images.index_select(0, indices), self.labels.index_select(0, indices)
