"""Clicks on advertisements: a label, numbers and categories a line, as in Criteo's logs."""

import glob
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from sklearn.utils import murmurhash3_32

from steepest.datasets.data import Data, is_count, require
from steepest.datasets.delimited import read_table
from steepest.datasets.loader import Batch
from steepest.datasets.records import Records, check_fractions, counts_of, shuffled_parts
from steepest.errors import ConfigError

MISSING = "missing"


class Clicks(Data):
    """Batches: (ids int64 [B, fields], clicks float32 [B], 0 or 1); a field for each number and each category.

    Categories are hashed into the `buckets` rows of their field, so that any value, a new one too, has a row: the
    hashing trick, Weinberger et al. 2009, arXiv:0902.2206. A number is made a category first, with steps that grow as
    the number does (Juan et al. 2016, "Field-aware factorization machines for CTR prediction", code of section 4.1):

        x > 2: floor(log(x)^2) + 3,   else x itself;   a missing value is a category of its own

    Args:
        path: a file or a glob of files, read one after the other: Parquet or CSV with a head line, or TSV and TXT
            without one, in Criteo's order: label, numbers, categories.
        label_column: 0 and 1.
        number_columns, category_columns: a name each; together at least one.
        buckets: rows of each field.
        validation_fraction, test_fraction: shares of all lines, drawn at random.
        split_seed: of the split, the same for every run seed.
        name: of the data set, for messages.
        eval_batch_size: lines at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    field_sizes: list[int]
    """Rows of each field."""
    row_counts: list[torch.Tensor]
    """How often each row stands in the training part, int64 [rows] a field."""
    base_output: float
    """The constant that fits the training part best: log(clicks / others), each count made larger by a half."""
    target_range = (0.0, 1.0)

    def __init__(
        self,
        path: str,
        label_column: str,
        number_columns: Sequence[str],
        category_columns: Sequence[str],
        buckets: int,
        validation_fraction: float,
        test_fraction: float,
        split_seed: int,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, eval_batch_size)
        fields = [*number_columns, *category_columns]
        require(len(fields) > 0, "category_columns", list(category_columns), "lists with at least one column")
        once = len({label_column, *fields}) == 1 + len(fields)
        require(once, "category_columns", list(category_columns), "columns named once, and not among the others")
        require(is_count(buckets, 1), "buckets", buckets, "whole numbers from 1")
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        check_fractions(validation_fraction, test_fraction)
        self.path, self.label_column, self.buckets = path, label_column, buckets
        self.number_columns, self.category_columns = list(number_columns), list(category_columns)
        self.validation_fraction, self.test_fraction = validation_fraction, test_fraction
        self.split_seed = split_seed

    def read(self) -> dict[str, Records]:
        """The three parts of all files together."""
        files = sorted(Path(name) for name in glob.glob(self.path))  # noqa: PTH207 (an absolute pattern)
        if not files:
            raise ConfigError(
                f"dataset.path={self.path} fits no file; allowed are Parquet, CSV and TSV files with a label, numbers "
                "and categories, such as Criteo's (ailab.criteo.com/ressources)."
            )
        ids, labels = (torch.cat(parts) for parts in zip(*map(self._read_file, files), strict=True))
        parts = shuffled_parts(len(ids), self.validation_fraction, self.test_fraction, self.split_seed)
        if not len(parts["train"]):
            raise ConfigError(f"dataset.path={self.path} holds no line to train on; allowed are files with some.")
        self.field_sizes = [self.buckets] * ids.shape[1]
        self.row_counts = counts_of(ids[parts["train"]], self.field_sizes)
        clicks, lines = int(labels[parts["train"]].sum()), len(parts["train"])
        self.base_output = math.log((clicks + 0.5) / (lines - clicks + 0.5))
        self.click_share = clicks / lines
        return {name: Records(ids[part], labels[part]) for name, part in parts.items()}

    def _read_file(self, file: Path) -> tuple[torch.Tensor, torch.Tensor]:
        names = [self.label_column, *self.number_columns, *self.category_columns]
        headless = names if file.suffix in (".tsv", ".txt") else None
        table = read_table(file, headless, self.category_columns, names)
        labels = table[self.label_column].to_numpy()
        if not np.isin(labels, (0, 1)).all():
            raise ConfigError(
                f"dataset.label_column={self.label_column} of {file} has other values; allowed are 0 and 1."
            )
        columns = [self._hashed(name, steps(table[name], name, file)) for name in self.number_columns]
        columns += [self._hashed(name, table[name]) for name in self.category_columns]
        return torch.stack(columns, dim=1), torch.from_numpy(labels.astype(np.float32))

    def _hashed(self, name: str, column: pyarrow.ChunkedArray) -> torch.Tensor:
        """The rows of a field, int32 [N]: of each value that occurs once, then of all."""
        values = pyarrow.compute.fill_null(column.cast(pyarrow.string()), MISSING).combine_chunks().dictionary_encode()
        words = values.dictionary.to_pylist()
        rows = [murmurhash3_32(f"{name}={word}", seed=0, positive=True) % self.buckets for word in words]
        return torch.from_numpy(np.array(rows, dtype=np.int32)[values.indices.to_numpy()])

    def blank_batch(self, size: int) -> Batch:
        """Ids [size, fields] and clicks [size] on the device `meta`."""
        ids = torch.empty(size, len(self.field_sizes), dtype=torch.int64, device="meta")
        return ids, torch.empty(size, device="meta")

    def describe(self) -> str:
        """What was read, in a line."""
        fields = f"{len(self.field_sizes)} fields of {self.buckets:,} rows"
        return f"{super().describe()}, {fields}, {self.click_share:.1%} clicks"


def steps(column: pyarrow.ChunkedArray, name: str, file: Path) -> pyarrow.ChunkedArray:
    """Numbers as whole numbers, whose steps grow as the numbers do; missing ones stay missing."""
    try:
        numbers = column.cast(pyarrow.float64())
    except pyarrow.ArrowInvalid as error:
        raise ConfigError(f"The column {name} of {file} holds something else than numbers ({error}).") from error
    values = numbers.to_numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        stepped = np.where(values > 2, np.floor(np.log(np.maximum(values, 1)) ** 2) + 3, np.trunc(values))
    return pyarrow.chunked_array([pyarrow.array(stepped, from_pandas=True).cast(pyarrow.int64())])
