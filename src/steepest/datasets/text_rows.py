"""Columns of tables in files, read in blocks."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from steepest.datasets.text_files import TABLES, kinds
from steepest.errors import ConfigError

BLOCK = 1000
"""Rows of a Parquet file that are read at once."""


def blocks(file: Path, columns: dict[str, str]) -> Iterator[dict[str, list[Any]]]:
    """The values of some columns, some rows at a time.

    Args:
        file: Arrow (a stream, as `datasets` writes), Parquet, CSV with commas, TSV without quoting, or JSON lines.
        columns: the keys of the configuration that name them, and their names; the answers have the names as keys.

    Raises:
        ConfigError: a file that cannot be read, or one without one of the columns.
    """
    if file.suffix not in TABLES:
        raise ConfigError(f"{file} is no table that can be read; allowed are files that end in {kinds()}.")
    try:
        for block in _read(file, list(columns.values())):
            if isinstance(block, pyarrow.Schema):
                _require(file, block.names, columns)
            else:
                yield {name: block.column(name).to_pylist() for name in columns.values()}
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file} cannot be read ({reason}); allowed are whole files in UTF-8.") from error


def names_of_classes(file: Path, column: str) -> list[str] | None:
    """The names that `datasets` kept for the numbers in a column; None: it kept none."""
    if file.suffix not in (".arrow", ".parquet"):
        return None
    schema = next(iter(_read(file, [])))
    assert isinstance(schema, pyarrow.Schema)
    if b"huggingface" not in (schema.metadata or {}):
        return None
    feature = datasets.Features.from_arrow_schema(schema).get(column)
    return list(feature.names) if isinstance(feature, datasets.ClassLabel) else None


def _require(file: Path, present: Sequence[str], columns: dict[str, str]) -> None:
    for key, name in columns.items():
        if name not in present:
            raise ConfigError(f"dataset.{key}={name} is no column of {file}; its columns are {', '.join(present)}.")


def _read(file: Path, columns: list[str]) -> Iterator[Any]:
    """The schema, then blocks of rows with these columns at least."""
    if file.suffix == ".parquet":
        with closing(pyarrow.parquet.ParquetFile(file)) as parquet:
            yield parquet.schema_arrow
            yield from parquet.iter_batches(BLOCK, columns=columns, use_threads=False)
    elif file.suffix == ".arrow":
        with pyarrow.memory_map(str(file)) as mapped, pyarrow.ipc.open_stream(mapped) as stream:
            yield stream.schema
            yield from stream
    elif file.suffix in (".csv", ".tsv"):
        tabs = file.suffix == ".tsv"
        read = pyarrow.csv.ReadOptions(use_threads=False)
        parse = pyarrow.csv.ParseOptions(
            delimiter="\t" if tabs else ",", quote_char=False if tabs else '"', newlines_in_values=not tabs
        )
        yield pyarrow.csv.open_csv(file, read, parse).schema
        types = dict.fromkeys(columns, pyarrow.string())
        convert = pyarrow.csv.ConvertOptions(column_types=types, include_columns=columns, strings_can_be_null=False)
        yield from pyarrow.csv.open_csv(file, read, parse, convert)
    else:
        table = pyarrow.json.read_json(file, pyarrow.json.ReadOptions(use_threads=False))
        yield table.schema
        yield from table.to_batches()
