"""What all image data sets share: the validation split, and what a model must know."""

import math
from collections.abc import Sequence

import torch

from steepest.datasets.augment import Augment
from steepest.datasets.data import Data, is_count, require
from steepest.datasets.examples import LabelledImages, Source
from steepest.datasets.loader import Batch
from steepest.datasets.order import holdout


class ImageData(Data):
    """Base of the image data sets; one says in `read_source` how its files become examples, in `download` where from.

    Args:
        name: of the data set, for messages and files.
        mean, std: one number per channel, of pixels in [0, 1]; the model sees (pixel - mean) / std.
        crop_padding: pixels added at each side before the random crop of training images; 0: no crop.
        flip: mirror training images at random.
        validation_fraction: share of the training part that is held out for validation.
        split_seed: of the split, the same for every run seed.
        eval_batch_size: images at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    input_shape: tuple[int, int, int]
    num_classes: int
    class_names: list[str]
    augmented: Augment
    plain: Augment

    def __init__(
        self,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        validation_fraction: float,
        split_seed: int,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, eval_batch_size)
        require(len(mean) == len(std), "std", list(std), f"as many numbers as dataset.mean has: {len(mean)}")
        require(all(math.isfinite(m) for m in mean), "mean", list(mean), "finite numbers")
        require(all(s > 0 for s in std), "std", list(std), "numbers above 0")
        require(is_count(crop_padding, 0), "crop_padding", crop_padding, "whole numbers from 0")
        require(isinstance(flip, bool), "flip", flip, "true and false")
        require(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "numbers from 0 to below 1")
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.augmented = Augment(mean, std, crop_padding, flip)
        self.plain = Augment(mean, std)

    def read_source(self) -> Source:
        """The training and the test part, from files that are there.

        Raises:
            MissingDataError: they are not.
            ConfigError: they are damaged, or do not fit the configuration.
        """
        raise NotImplementedError

    def read(self) -> dict[str, LabelledImages]:
        """The source's training part without its validation split, that split, and the test part."""
        source = self.read_source()
        source.check(self.name)
        channels, mean = source.train.shape[0], self.plain.scale.numel()
        require(mean == channels, "mean", f"({mean} numbers)", f"one number per channel of the images: {channels}")
        kept, held = holdout(len(source.train), self.validation_fraction, self.split_seed)
        require(len(kept) > 0, "validation_fraction", self.validation_fraction, "fractions that leave a training image")
        self.input_shape = source.train.shape
        self.class_names = source.class_names
        self.num_classes = len(source.class_names)
        return {"train": source.train.subset(kept), "val": source.train.subset(held), "test": source.test}

    def blank_batch(self, size: int) -> Batch:
        """Images [size, C, H, W] and labels [size] on the device `meta`."""
        labels = torch.empty(size, dtype=torch.int64, device="meta")
        return torch.empty(size, *self.input_shape, device="meta"), labels

    def describe(self) -> str:
        """What was read, in a line."""
        return f"{super().describe()}, {self.num_classes} classes, images of shape {self.input_shape}"
