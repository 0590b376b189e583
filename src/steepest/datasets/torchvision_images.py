"""MNIST and its relatives, CIFAR-10 and CIFAR-100, in the files that torchvision downloads."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision.datasets
from torchvision.datasets.utils import check_integrity

from steepest.datasets.data import MissingDataError, require
from steepest.datasets.examples import Source
from steepest.datasets.idx import read_idx
from steepest.datasets.images import ImageData
from steepest.datasets.memory import MemoryImages
from steepest.errors import ConfigError

SOURCES = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100")


class TorchvisionImages(ImageData):
    """A data set of torchvision, read into memory.

    Args:
        source: its class in torchvision.datasets.
        root: folder of data sets, with torchvision's layout below it.
    """

    def __init__(
        self,
        source: str,
        root: str,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        validation_fraction: float,
        split_seed: int,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, mean, std, crop_padding, flip, validation_fraction, split_seed, eval_batch_size)
        require(source in SOURCES, "source", source, ", ".join(SOURCES))
        self.source = getattr(torchvision.datasets, source)
        self.root = Path(root)

    @property
    def location(self) -> Path:
        """`FashionMNIST/raw` or `cifar-10-batches-py` below the root."""
        if issubclass(self.source, torchvision.datasets.MNIST):
            return self.root / self.source.__name__ / "raw"
        return self.root / self.source.base_folder

    def download(self) -> None:
        """Through torchvision, which shows progress and verifies the md5 of each file."""
        self.source(self.root, download=True)

    def read_source(self) -> Source:
        """All images of both parts."""
        if issubclass(self.source, torchvision.datasets.MNIST):
            return Source(self._read_idx("train"), self._read_idx("t10k"), list(self.source.classes))
        self._verify()
        parts = [self.source(self.root, train=train) for train in (True, False)]
        train, test = (
            MemoryImages(torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(part.targets))
            for part in parts
        )
        return Source(train, test, list(parts[0].classes))

    def _read_idx(self, part: str) -> MemoryImages:
        files = [self._existing(f"{part}-images-idx3-ubyte"), self._existing(f"{part}-labels-idx1-ubyte")]
        images, labels = (read_idx(file) for file in files)
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise ConfigError(
                f"{files[0]} holds an array of shape {list(images.shape)} and {files[1]} one of {list(labels.shape)}; "
                "allowed are [n, height, width] and [n]; delete them and get them again."
            )
        return MemoryImages(images.unsqueeze(1), labels.long())

    def _existing(self, name: str) -> Path:
        """The unpacked file or the gzip: a job may not unpack into the data folder."""
        for candidate in (self.location / name, self.location / f"{name}.gz"):
            if candidate.is_file():
                return candidate
        raise self._missing()

    def _verify(self) -> None:
        """Torchvision says only that something is wrong; say what."""
        meta = (self.source.meta["filename"], self.source.meta["md5"])
        for name, md5 in [*self.source.train_list, *self.source.test_list, meta]:
            file = self.location / name
            if not file.is_file():
                raise self._missing()
            if not check_integrity(str(file), md5):
                raise ConfigError(f"{file} is damaged (its md5 is not {md5}); delete it and get it again.")

    def _missing(self) -> MissingDataError:
        return MissingDataError(
            f"dataset={self.name}: no data under {self.location}; run: make data DATASETS={self.name}"
        )
