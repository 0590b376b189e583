"""Noise: random pixels with random labels, of any size, to measure speed with; there is nothing in it to learn."""

from typing import Any

import torch

from steepest.datasets.data import is_count, require
from steepest.datasets.examples import Source
from steepest.datasets.images import ImageData
from steepest.datasets.memory import MemoryImages


class Noise(ImageData):
    """Needs no file and no net; the same images every time.

    Args:
        shape: (C, H, W) of each image.
        classes: number of classes.
        num_examples: images in the training part, and a tenth as many for the test.
        options: of `ImageData`.
    """

    def __init__(self, shape: list[int], classes: int, num_examples: int, **options: Any) -> None:
        super().__init__(**options)
        require(len(shape) == 3 and all(is_count(side, 1) for side in shape), "shape", shape, "three sides from 1")
        require(is_count(classes, 2), "classes", classes, "whole numbers from 2")
        require(is_count(num_examples, 10), "num_examples", num_examples, "whole numbers from 10")
        self.shape, self.classes, self.num_examples = shape, classes, num_examples

    def read_source(self) -> Source:
        """Draw the images."""
        generator = torch.Generator().manual_seed(0)

        def examples(count: int) -> MemoryImages:
            pixels = torch.randint(0, 256, (count, *self.shape), dtype=torch.uint8, generator=generator)
            return MemoryImages(pixels, torch.randint(0, self.classes, (count,), generator=generator))

        names = [str(number) for number in range(self.classes)]
        return Source(examples(self.num_examples), examples(self.num_examples // 10), names)
