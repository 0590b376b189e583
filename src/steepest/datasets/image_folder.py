"""Images in folders, one folder a class, as ImageNet is unpacked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
from torchvision.datasets import ImageFolder

from steepest.datasets.decode import Decoder
from steepest.datasets.encoded import EncodedImages
from steepest.datasets.examples import Source
from steepest.datasets.stream import StreamedImages
from steepest.errors import ConfigError

TEST_FOLDERS = ("test", "val", "validation")


class FolderImages(EncodedImages):
    """The files `path`/train/<class>/<image> and, for the test, `path`/test, val or validation: the first there is.

    Classes are numbered in the order of their folders' names, and are the same in both parts. The validation part is
    cut from `train`. Files are those with the endings that `torchvision.datasets.ImageFolder` knows.

    Args:
        path: the folder above.
        image_size: scale the shorter side to this many pixels and keep the centre square; null: as they are.
        cache_dir: for decoded images.
        in_memory: auto (up to 2 GiB decoded), true or false (stream).
        workers: processes that decode a stream; 0: the main process.
    """

    def __init__(
        self,
        path: str,
        image_size: int | None,
        cache_dir: str,
        in_memory: bool | str,
        workers: int,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        validation_fraction: float,
        split_seed: int,
        eval_batch_size: int,
    ) -> None:
        super().__init__(
            image_size,
            cache_dir,
            in_memory,
            workers,
            name,
            mean,
            std,
            crop_padding,
            flip,
            validation_fraction,
            split_seed,
            eval_batch_size,
        )
        self.path = Path(path)
        self._found: dict[str, ImageFolder] = {}

    @property
    def location(self) -> Path:
        """The folder."""
        return self.path

    def download(self) -> None:
        """There is no source: the files are the user's own."""
        raise RuntimeError("it is a folder of your own")

    def files(self) -> list[Path]:
        """All images of both parts."""
        return [Path(path) for part in self._parts_found().values() for path, _ in part.samples]

    def options(self) -> list[Any]:
        """Decoding, and the folder of each file, which is its class."""
        return [*super().options(), [str(file.relative_to(self.path)) for file in self.files()]]

    def streams(self) -> Source:
        """Both parts, from the files where they are."""
        parts, shape = {}, None
        for part, found in self._parts_found().items():
            paths, labels = zip(*found.samples, strict=True)
            records = [{"bytes": None, "path": path} for path in paths]
            rows = datasets.Dataset.from_dict(
                {"image": records}, features=datasets.Features({"image": datasets.Image(decode=False)})
            )
            decoder = Decoder(f"dataset={self.name}, {part} folder", self.channels, self.image_size)
            shape = shape or decoder.decode(records[0], 0).shape
            parts[part] = StreamedImages(rows, torch.tensor(labels), decoder, shape, self.workers)
        return Source(parts["train"], parts["test"], self._parts_found()["train"].classes)

    def _parts_found(self) -> dict[str, ImageFolder]:
        """What lies in the folders, listed once."""
        if not self._found:
            train, test = self._listed("train"), self._listed(*TEST_FOLDERS)
            if odd := sorted(set(train.classes) ^ set(test.classes)):
                raise ConfigError(
                    f"dataset.path={self.path} has a folder {odd[0]} in {Path(train.root).name} or "
                    f"{Path(test.root).name} alone; allowed are the same classes in both."
                )
            self._found = {"train": train, "test": test}
        return self._found

    def _listed(self, *names: str) -> ImageFolder:
        """The first of these folders that is there."""
        folder = next((self.path / name for name in names if (self.path / name).is_dir()), None)
        if folder is None:
            raise ConfigError(
                f"dataset.path={self.path} has no folder {' or '.join(names)}; allowed is a folder with train and test "
                "(or val), each with a folder of images for each class."
            )
        try:
            return ImageFolder(str(folder))
        except FileNotFoundError as error:  # no class, or a class without images
            reason = str(error).splitlines()[0].rstrip(". ")
            raise ConfigError(
                f"dataset.path={self.path} is not possible ({reason}); allowed is a folder of images for each class."
            ) from None
