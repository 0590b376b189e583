"""What a source of images hands over."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from steepest.datasets.order import Bounds
from steepest.errors import ConfigError


class LabelledImages(Protocol):
    """Labelled images, in memory or streamed."""

    labels: Tensor
    """Class numbers, int64 [N]."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of every image."""
        ...

    def __len__(self) -> int: ...

    def subset(self, indices: Tensor) -> "LabelledImages":
        """These examples, in this order."""
        ...

    def to(self, device: torch.device) -> "LabelledImages":
        """The same examples, whose batches come on this device."""
        ...

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor]]:
        """(uint8 [B, C, H, W], int64 [B]) of `order[start:stop]` for each pair of bounds."""
        ...


@dataclass(frozen=True)
class Source:
    """A data set as its files give it."""

    train: LabelledImages
    test: LabelledImages
    class_names: list[str]

    def check(self, name: str) -> None:
        """Hold the parts of the data set `name` against each other, before a model meets them.

        Raises:
            ConfigError: a part is empty, its images have another shape, or a label is no class.
        """
        for part, examples in (("training", self.train), ("test", self.test)):
            if not len(examples):
                raise ConfigError(
                    f"dataset={name} holds no image in its {part} part; delete its files and get it again."
                )
            low, high, classes = int(examples.labels.min()), int(examples.labels.max()), len(self.class_names)
            if low < 0 or high >= classes:
                raise ConfigError(
                    f"dataset={name} has the label {low if low < 0 else high} in its {part} part; "
                    f"allowed are 0 to {classes - 1}, the {classes} classes."
                )
        if self.train.shape != self.test.shape:
            raise ConfigError(
                f"dataset={name} has training images of shape {list(self.train.shape)} and test images of "
                f"{list(self.test.shape)}; allowed is one shape (channels, height, width)."
            )
