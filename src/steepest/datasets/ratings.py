"""Ratings of items by users, from a table such as MovieLens's ratings.csv."""

from pathlib import Path

import numpy as np
import pyarrow
import torch
from torchvision.datasets.utils import download_and_extract_archive

from steepest.datasets.data import Data, MissingDataError, is_count, require
from steepest.datasets.delimited import numbers, read_table
from steepest.datasets.loader import Batch
from steepest.datasets.records import Records, check_fractions, counts_of, dealt, shuffled_parts
from steepest.errors import ConfigError, shown

SPLITS = ("random", "time")


class Ratings(Data):
    """Batches: (ids int64 [B, 2], rows of user and item; ratings float32 [B]).

    Every user and every item of the table has a row, numbered in the order of their ids. One that stands in no
    training example keeps its initial weights.

    Args:
        file: the table, with a head line: CSV, TSV or Parquet.
        url: of an archive that unpacks beside the table's folder; null: there is none to download.
        user_column, item_column, rating_column, time_column: their names; time is read for `split: time` alone.
        split: random (each rating by itself), or time (of each user the latest are the test, those before the
            validation part).
        validation_fraction, test_fraction: shares of all ratings, or of each user's, rounded.
        split_seed: of the random split, the same for every run seed.
        name: of the data set, for messages.
        eval_batch_size: ratings at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    field_sizes: list[int]
    """Rows of each field: users, items."""
    row_counts: list[torch.Tensor]
    """How often each row stands in the training part, int64 [rows] a field."""
    base_output: float
    """The constant that fits the training part best: its mean rating."""
    target_range: tuple[float, float]
    """Its least and its largest rating."""

    def __init__(
        self,
        file: str,
        url: str | None,
        user_column: str,
        item_column: str,
        rating_column: str,
        time_column: str,
        split: str,
        validation_fraction: float,
        test_fraction: float,
        split_seed: int,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, eval_batch_size)
        require(split in SPLITS, "split", shown(split), " and ".join(SPLITS))
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        check_fractions(validation_fraction, test_fraction)
        self.file, self.url, self.split = Path(file), url, split
        self.fields = [user_column, item_column]
        self.rating_column, self.time_column = rating_column, time_column
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.split_seed = split_seed

    @property
    def location(self) -> Path:
        """The folder of the table."""
        return self.file.parent

    def download(self) -> None:
        """Unpack the archive beside the folder that it holds."""
        if self.url is None:
            raise RuntimeError("dataset.url is null")
        download_and_extract_archive(self.url, str(self.location.parent), remove_finished=True)

    def read(self) -> dict[str, Records]:
        """The three parts of the table."""
        if not self.file.is_file():
            raise MissingDataError(
                f"dataset={self.name}: no file {self.file}; run: make data DATASETS={self.name}, or set dataset.file."
            )
        needed = [*self.fields, self.rating_column, *([self.time_column] if self.split == "time" else [])]
        table = read_table(self.file, columns=needed)
        if not len(table):
            raise ConfigError(f"{self.file} holds no rating; delete it and get it again.")
        ratings = torch.from_numpy(numbers(table, self.rating_column, self.file)).float()
        ids = torch.stack([self._rows(table[field], field) for field in self.fields], dim=1)
        parts = self._parts_of(table, ids[:, 0])
        if not len(parts["train"]):
            raise ConfigError(
                f"dataset.validation_fraction={self.validation_fraction} with dataset.test_fraction="
                f"{self.test_fraction} leaves no training example of {len(table)}; allowed are smaller shares."
            )
        train = parts["train"]
        self.field_sizes = [int(rows.max()) + 1 for rows in ids.T]
        self.row_counts = counts_of(ids[train], self.field_sizes)
        self.base_output = ratings[train].double().mean().item()
        self.target_range = (ratings[train].min().item(), ratings[train].max().item())
        return {name: Records(ids[part], ratings[part]) for name, part in parts.items()}

    def _rows(self, column: pyarrow.ChunkedArray, name: str) -> torch.Tensor:
        if column.null_count:
            raise ConfigError(
                f"The column {name} of {self.file} has {column.null_count} empty fields; allowed is none."
            )
        return torch.from_numpy(np.unique(column.to_numpy(), return_inverse=True)[1]).long()

    def _parts_of(self, table: pyarrow.Table, users: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.split == "random":
            return shuffled_parts(len(users), self.validation_fraction, self.test_fraction, self.split_seed)
        times = numbers(table, self.time_column, self.file)
        by_user_and_time = torch.from_numpy(np.lexsort((times, users.numpy())))
        parts = [
            dealt(own, round(self.validation_fraction * len(own)), round(self.test_fraction * len(own)))
            for own in by_user_and_time.split(torch.bincount(users).tolist())
        ]
        return {name: torch.cat([part[name] for part in parts]) for name in ("train", "val", "test")}

    def blank_batch(self, size: int) -> Batch:
        """Ids [size, 2] and ratings [size] on the device `meta`."""
        ids = torch.empty(size, 2, dtype=torch.int64, device="meta")
        return ids, torch.empty(size, device="meta")

    def describe(self) -> str:
        """What was read, in a line."""
        users, items = self.field_sizes
        low, high = self.target_range
        return f"{super().describe()}, {users:,} users, {items:,} items, ratings from {low:g} to {high:g}"
