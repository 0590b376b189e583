"""Columns of tables in CSV, TSV and Parquet files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet

from steepest.errors import ConfigError, shown

DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


def read_table(
    file: Path, names: Sequence[str] | None = None, text_columns: Sequence[str] = (), columns: Sequence[str] = ()
) -> pyarrow.Table:
    """A table in memory.

    Args:
        file: *.parquet; or *.csv with commas, *.tsv and *.txt with tabs.
        names: of the columns of a text file without a head line; None: the first line has them.
        text_columns: read as text, whatever stands in them.
        columns: those to read; none: all.

    Raises:
        ConfigError: a file of another kind, one that cannot be read, or one without one of the columns.
    """
    try:
        if file.suffix == ".parquet":
            table = pyarrow.parquet.read_table(file, columns=list(columns) or None)
        elif file.suffix in DELIMITERS:
            table = pyarrow.csv.read_csv(
                file,
                pyarrow.csv.ReadOptions(column_names=list(names) if names else None),
                pyarrow.csv.ParseOptions(delimiter=DELIMITERS[file.suffix]),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(text_columns, pyarrow.string())),
            )
        else:
            allowed = ".parquet, .csv, .tsv and .txt"
            raise ConfigError(f"{file} is no table that can be read; allowed are files that end in {allowed}.")
    except (pyarrow.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} cannot be read ({reason}); delete it and get it again.") from error
    require_columns(file, table.column_names, columns)
    return table


def require_columns(file: Path, present: Sequence[str], needed: Sequence[str]) -> None:
    """Raise ConfigError for the first column that a file does not have."""
    for column in needed:
        if column not in present:
            raise ConfigError(f"{file} has no column {shown(column)}; its columns are {', '.join(present)}.")


def numbers(table: pyarrow.Table, column: str, file: Path) -> np.ndarray:
    """A column as float64 [N].

    Raises:
        ConfigError: it holds something else than finite numbers.
    """
    values = table[column]
    kind = values.type
    plain = pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)
    found = values.to_numpy().astype(np.float64) if plain and not values.null_count else np.array([np.nan])
    if len(values) and not np.isfinite(found).all():
        raise ConfigError(f"The column {column} of {file} holds something else than numbers; allowed are numbers only.")
    return found[: len(values)]
