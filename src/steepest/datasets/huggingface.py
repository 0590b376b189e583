"""Image data sets of the Hugging Face hub, from a local copy."""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from steepest.datasets import columns
from steepest.datasets.data import MissingDataError, require
from steepest.datasets.decode import Decoder
from steepest.datasets.encoded import EncodedImages
from steepest.datasets.examples import Source
from steepest.datasets.stream import StreamedImages
from steepest.datasets.tables import find_files, open_tables
from steepest.errors import ConfigError


class HuggingFaceImages(EncodedImages):
    """Images of Hugging Face `datasets`: decoded once into memory, or streamed from memory-mapped files.

    The test set is the split `test`, or `validation` where there is none; the validation part is cut from `train`.

    Args:
        path: a hub id, read from `root`/huggingface/<hub id>; or a folder that `save_to_disk` wrote; or a folder or
            a glob of Parquet files named train*, test*, validation*.
        image_column: null: the only column of images.
        label_column: class labels or integers; null: the only column of class labels.
        image_size: scale the shorter side to this many pixels and keep the centre square; null: as they are.
        root: folder of data sets.
        cache_dir: for decoded images, and for Parquet files rewritten as Arrow.
        in_memory: auto (up to 2 GiB decoded), true or false (stream).
        workers: processes that decode a stream; 0: the main process.
    """

    def __init__(
        self,
        path: str,
        image_column: str | None,
        label_column: str | None,
        image_size: int | None,
        root: str,
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
        self.path = path
        self.image_column = image_column
        self.label_column = label_column
        self.root = Path(root)

    @property
    def location(self) -> Path:
        """The local path, or where a copy of the hub's data set lies or belongs."""
        return self.root / "huggingface" / self.path if self._is_hub_id else Path(self.path)

    @property
    def _is_hub_id(self) -> bool:
        """An existing folder wins, as it does in `datasets.load_dataset`."""
        return bool(re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", self.path)) and not Path(self.path).exists()

    def download(self) -> None:
        """Get it from the hub and write it with `save_to_disk`, whole or not at all."""
        beside = self.location.with_name(f".{self.location.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        try:
            datasets.load_dataset(self.path).save_to_disk(str(beside))
        except datasets.exceptions.DatasetsError as error:
            raise RuntimeError(str(error)) from error
        shutil.rmtree(self.location, ignore_errors=True)
        beside.rename(self.location)

    def files(self) -> list[Path]:
        """Those of both splits."""
        files = self._files()
        return [*files["train"], *files["test"]]

    def options(self) -> list[Any]:
        """Decoding, and the columns."""
        return [*super().options(), self.image_column, self.label_column]

    def streams(self) -> Source:
        """Both splits, from tables in memory-mapped files."""
        tables = open_tables(self._files(), self.cache_dir / "arrow")
        train = tables["train"]
        image, label = columns.image_column(train, self.image_column), columns.label_column(train, self.label_column)
        labels = {part: columns.read_labels(table, label, self._origin(part)) for part, table in tables.items()}
        parts, shape = {}, None
        for part, table in tables.items():
            require(len(table) > 0, "path", self.path, "data sets with images in every split")
            rows = columns.only(table, image, self._origin(part))
            decoder = Decoder(self._origin(part), self.channels, self.image_size)
            shape = shape or decoder.decode(rows[0][image], 0).shape
            parts[part] = StreamedImages(rows, labels[part], decoder, shape, self.workers)
        largest = max(int(values.max()) for values in labels.values())
        return Source(parts["train"], parts["test"], columns.class_names(train, label, largest))

    def _files(self) -> dict[str, list[Path]]:
        """The files of the training and the test split."""
        found = find_files(str(self.location))
        if not found and self._is_hub_id:
            raise MissingDataError(
                f"dataset={self.name}: no data under {self.location}; run: make data DATASETS={self.name} "
                f"ARGS=dataset.path={self.path}"
            )
        test = found.get("test") or found.get("validation")
        if "train" not in found or test is None:
            raise ConfigError(
                f"dataset.path={self.path} holds {' and '.join(found) or 'no split'}; allowed are a folder that "
                "save_to_disk wrote, or Parquet files train* and test* (or validation*)."
            )
        return {"train": found["train"], "test": test}

    def _origin(self, part: str) -> str:
        return f"dataset={self.name}, {part} split"
