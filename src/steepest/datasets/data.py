"""What all data sets share: parts that are read once, and the loaders."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
import torch
from torch import Tensor

from steepest.datasets.augment import Augment
from steepest.datasets.loader import Batch, Loader
from steepest.datasets.order import Bounds
from steepest.errors import ConfigError, shown


class MissingDataError(ConfigError):
    """The files of a data set are not there; `steepest prepare` can get them."""


class Examples(Protocol):
    """The examples of one part of a data set, in memory or streamed.

    One that has a method `order(seed: int | None, epoch: int)` says itself what stands for each example in an epoch
    (int64, one entry an example; None is the order of evaluation); else that is a permutation of their numbers.
    """

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> "Examples":
        """The same examples, whose batches come on this device."""
        ...

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[Batch]:
        """A batch of `order[start:stop]` for each pair of bounds."""
        ...


class Data(pl.LightningDataModule):
    """Base of the data sets. One says in `read` how files become examples, in `download` where they come from.

    Args:
        name: of the data set, for messages and files.
        eval_batch_size: examples at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    num_train: int
    num_val: int
    num_test: int
    name: str
    augmented: Augment | None = None
    """What is done to training batches, by random numbers of the epoch."""
    plain: Augment | None = None
    """What is done to the batches of validation and test."""

    def __init__(self, name: str, eval_batch_size: int) -> None:
        super().__init__()
        require(is_count(eval_batch_size, 1), "eval_batch_size", eval_batch_size, "whole numbers from 1")
        self.name = name
        self.eval_batch_size = eval_batch_size
        self._parts: dict[str, Any] = {}
        self._training: dict[str, Any] = {}

    def read(self) -> Mapping[str, Examples]:
        """The parts train, val and test, from files that are there; sets what a model must know of them.

        Raises:
            MissingDataError: they are not.
            ConfigError: they are damaged, or do not fit the configuration.
        """
        raise NotImplementedError

    def blank_batch(self, size: int) -> Batch:
        """A training batch of `size` examples without its numbers, on the device `meta`."""
        raise NotImplementedError

    def download(self) -> None:
        """Get the files from the net, or raise OSError or RuntimeError."""
        raise NotImplementedError

    @property
    def location(self) -> Path | None:
        """The folder that holds the files; None: there are none to get."""
        return None

    def describe(self) -> str:
        """What was read, in a line."""
        return f"{self.num_train} training, {self.num_val} validation and {self.num_test} test examples"

    def setup(self, stage: str | None = None) -> None:
        """Read the parts; the second call does nothing."""
        if not self._parts:
            parts = dict(self.read())
            self.num_train, self.num_val, self.num_test = (len(parts[part]) for part in ("train", "val", "test"))
            self._parts = parts

    def attach(
        self, *, batch_size: int, accumulate: int = 1, exact: bool = False, seed: int = 0, steps_per_epoch: int = 0
    ) -> None:
        """Say how `train_dataloader` batches; see `Loader`.

        Args:
            batch_size: examples in a micro-batch of one device.
            accumulate: micro-batches in one optimizer step.
            exact: one optimizer step takes every training example once.
            seed: of the order and the augmentation.
            steps_per_epoch: optimizer steps, for data that a task makes itself.

        Raises:
            ConfigError: a step would take more examples than there are.
        """
        self._training = {"batch_size": batch_size, "accumulate": accumulate, "exact": exact, "seed": seed}
        len(self._loader("train", self.augmented, **self._training))

    def train_dataloader(self) -> Any:
        """Augmented training batches in random order."""
        if not self._training:
            raise RuntimeError("call attach() before train_dataloader()")
        return self._loader("train", self.augmented, **self._training)

    def val_dataloader(self) -> Any:
        """The part that is held out of training; nothing where there is none."""
        return self._evaluation("val")

    def test_dataloader(self) -> Any:
        """The test set."""
        return self._evaluation("test")

    def predict_dataloader(self) -> Any:
        """The test set."""
        return self._evaluation("test")

    def _evaluation(self, part: str) -> Loader | list[Loader]:
        loader = self._loader(part, self.plain, batch_size=self.eval_batch_size, shuffle=False)
        return loader if loader.num_examples else []

    def _loader(self, part: str, augment: Augment | None, **options: Any) -> Loader:
        """A loader over a part that is moved to the trainer's device, once."""
        place = self.trainer.distributed_sampler_kwargs if self.trainer else None
        if self.trainer:
            self._parts[part] = self._parts[part].to(self.trainer.strategy.root_device)
        if place:
            options |= {"rank": place["rank"], "world": place["num_replicas"]}
        examples = self._parts[part]
        order = getattr(examples, "order", None)
        return Loader(examples.batches, len(examples), augment=augment, order=order, **options)


def is_count(value: object, least: int) -> bool:
    """Whether this is a whole number from `least`; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Raise the ConfigError of a dataset's key unless the condition holds."""
    if not holds:
        raise ConfigError(f"dataset.{key}={shown(value)} is not possible; allowed are {allowed}.")
