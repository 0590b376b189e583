"""The image and the label column of a table."""

import datasets
import numpy as np
import torch
from torch import Tensor

from steepest.errors import ConfigError


def image_column(table: datasets.Dataset, asked: str | None) -> str:
    """The column of images: the one asked for, else the only one of that type.

    Raises:
        ConfigError: there is none, or more than one.
    """
    found = [name for name, feature in table.features.items() if isinstance(feature, datasets.Image)]
    return _chosen("image_column", asked, found, table, "images")


def label_column(table: datasets.Dataset, asked: str | None) -> str:
    """The column of labels: the one asked for (class labels or integers), else the only one of class labels.

    Raises:
        ConfigError: there is none, or more than one.
    """
    labels = [name for name, feature in table.features.items() if isinstance(feature, datasets.ClassLabel)]
    whole = [name for name, feature in table.features.items() if "int" in str(getattr(feature, "dtype", ""))]
    return _chosen("label_column", asked, labels if asked is None else whole, table, "class labels")


def _chosen(key: str, asked: str | None, found: list[str], table: datasets.Dataset, kind: str) -> str:
    if asked is None and len(found) == 1:
        return found[0]
    if asked in found:
        return str(asked)
    columns = ", ".join(f"{name} ({_kind(feature)})" for name, feature in table.features.items())
    value = "null" if asked is None else asked
    raise ConfigError(f"dataset.{key}={value} does not name one column of {kind}; the columns are {columns}.")


def _kind(feature: object) -> str:
    return str(getattr(feature, "dtype", "")) if isinstance(feature, datasets.Value) else type(feature).__name__


def read_labels(table: datasets.Dataset, column: str, origin: str) -> Tensor:
    """The labels of all rows, int64 [N].

    Raises:
        ConfigError: a label is missing or negative, as in the test sets of competitions, or all are.
    """
    if column not in table.column_names:
        raise _absent(origin, column, table)
    values = np.asarray(table.with_format("numpy")[column][:])
    if len(values) and (values.dtype.kind not in "iu" or values.min() < 0):
        raise ConfigError(f"{origin}: column {column} has missing or negative labels; allowed are integers from 0.")
    return torch.from_numpy(values.astype(np.int64))


def only(table: datasets.Dataset, column: str, origin: str) -> datasets.Dataset:
    """The table with this column of images alone, not decoded.

    Raises:
        ConfigError: it has no such column.
    """
    if column not in table.column_names:
        raise _absent(origin, column, table)
    return table.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _absent(origin: str, column: str, table: datasets.Dataset) -> ConfigError:
    return ConfigError(f"{origin}: column {column} is missing; the columns are {', '.join(table.column_names)}.")


def class_names(table: datasets.Dataset, column: str, largest: int) -> list[str]:
    """The names that the table gives to the classes, else their numbers."""
    feature = table.features[column]
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else [str(n) for n in range(largest + 1)]
