"""What all image data sets share: the validation split, what a model must know, and the loaders."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from steepest.datasets.augment import Augment
from steepest.datasets.examples import Examples, Source
from steepest.datasets.loader import Loader
from steepest.datasets.order import holdout
from steepest.errors import ConfigError


class MissingDataError(ConfigError):
    """The files of a data set are not there; `steepest prepare` can get them."""


class ImageData(pl.LightningDataModule):
    """Base of the image data sets; a source says in `read` how its files become examples, in `download` where from.

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
    num_train: int
    num_val: int
    num_test: int
    name: str

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
        super().__init__()
        require(len(mean) == len(std), "std", list(std), f"as many numbers as dataset.mean has: {len(mean)}")
        require(all(math.isfinite(m) for m in mean), "mean", list(mean), "finite numbers")
        require(all(s > 0 for s in std), "std", list(std), "numbers above 0")
        require(is_count(crop_padding, 0), "crop_padding", crop_padding, "whole numbers from 0")
        require(isinstance(flip, bool), "flip", flip, "true and false")
        require(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "numbers from 0 to below 1")
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        require(is_count(eval_batch_size, 1), "eval_batch_size", eval_batch_size, "whole numbers from 1")
        self.name = name
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.eval_batch_size = eval_batch_size
        self.augmented = Augment(mean, std, crop_padding, flip)
        self.plain = Augment(mean, std)
        self._parts: dict[str, Examples] = {}
        self._training: dict[str, Any] = {}

    def read(self) -> Source:
        """The training and the test part, from files that are there.

        Raises:
            MissingDataError: they are not.
            ConfigError: they are damaged, or do not fit the configuration.
        """
        raise NotImplementedError

    def download(self) -> None:
        """Get the files from the net, or raise OSError or RuntimeError."""
        raise NotImplementedError

    @property
    def location(self) -> Path | None:
        """The folder that holds the files; None: there are none to get."""
        return None

    def setup(self, stage: str | None = None) -> None:
        """Read the data and split it; the second call does nothing."""
        if self._parts:
            return
        source = self.read()
        source.check(self.name)
        channels, mean = source.train.shape[0], self.plain.scale.numel()
        require(mean == channels, "mean", f"({mean} numbers)", f"one number per channel of the images: {channels}")
        kept, held = holdout(len(source.train), self.validation_fraction, self.split_seed)
        require(len(kept) > 0, "validation_fraction", self.validation_fraction, "fractions that leave a training image")
        parts = {"train": source.train.subset(kept), "val": source.train.subset(held), "test": source.test}
        self.num_train, self.num_val, self.num_test = (len(part) for part in parts.values())
        self.input_shape = source.train.shape
        self.class_names = source.class_names
        self.num_classes = len(source.class_names)
        self._parts = parts

    def attach(self, *, batch_size: int, accumulate: int = 1, exact: bool = False, seed: int = 0) -> None:
        """Say how `train_dataloader` batches; see `Loader`.

        Args:
            batch_size: examples in a micro-batch of one device.
            accumulate: micro-batches in one optimizer step.
            exact: one optimizer step takes every training example once.
            seed: of the order and the augmentation.

        Raises:
            ConfigError: a step would take more examples than there are.
        """
        self._training = {"batch_size": batch_size, "accumulate": accumulate, "exact": exact, "seed": seed}
        len(self._loader("train", self.augmented, **self._training))

    def train_dataloader(self) -> Loader:
        """Augmented training batches in random order."""
        if not self._training:
            raise RuntimeError("call attach() before train_dataloader()")
        return self._loader("train", self.augmented, **self._training)

    def val_dataloader(self) -> Loader | list[Loader]:
        """The held-out part of the training set; nothing where there is none."""
        return self._evaluation("val")

    def test_dataloader(self) -> Loader | list[Loader]:
        """The test set."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Loader | list[Loader]:
        """The test set."""
        return self._evaluation("test")

    def _evaluation(self, part: str) -> Loader | list[Loader]:
        loader = self._loader(part, self.plain, batch_size=self.eval_batch_size, shuffle=False)
        return loader if loader.num_examples else []

    def _loader(self, part: str, augment: Augment, **options: Any) -> Loader:
        """A loader over a part that is moved to the trainer's device, once."""
        place = self.trainer.distributed_sampler_kwargs if self.trainer else None
        if self.trainer:
            self._parts[part] = self._parts[part].to(self.trainer.strategy.root_device)
        if place:
            options |= {"rank": place["rank"], "world": place["num_replicas"]}
        examples = self._parts[part]
        return Loader(examples.batches, len(examples), augment=augment, **options)


def is_count(value: object, least: int) -> bool:
    """Whether this is a whole number from `least`; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Raise the ConfigError of a dataset's key unless the condition holds."""
    if not holds:
        raise ConfigError(f"dataset.{key}={value} is not possible; allowed are {allowed}.")
