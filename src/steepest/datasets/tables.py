"""Local files of Hugging Face `datasets`: a folder that `save_to_disk` wrote, or Parquet files."""

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet

from steepest.errors import ConfigError

SPLITS = ("train", "test", "validation")


def find_files(path: str) -> dict[str, list[Path]]:
    """The data files of each split; empty where there are none.

    Args:
        path: a folder that `DatasetDict.save_to_disk` wrote, a folder with Parquet files somewhere below it, or a
            glob of Parquet files. The name of a Parquet file begins with that of its split.
    """
    folder = Path(path)
    if (folder / "dataset_dict.json").is_file():
        return {split: files for split in SPLITS if (files := sorted((folder / split).glob("*.arrow")))}
    files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else sorted(map(Path, glob.glob(path)))  # noqa: PTH207
    found = {split: [file for file in files if file.name.startswith(split)] for split in SPLITS}
    return {split: files for split, files in found.items() if files}


def open_tables(files: Mapping[str, list[Path]], cache_dir: Path) -> dict[str, datasets.Dataset]:
    """Each split as a memory-mapped table; Parquet is first rewritten as Arrow below `cache_dir`, once.

    Raises:
        ConfigError: a file is damaged.
    """
    return {split: _open(paths, cache_dir) for split, paths in files.items()}


def _open(paths: list[Path], cache_dir: Path) -> datasets.Dataset:
    try:
        if paths[0].suffix == ".arrow":
            return datasets.concatenate_datasets([datasets.Dataset.from_file(str(path)) for path in paths])
        with _no_progress_bars():
            return datasets.Dataset.from_parquet([str(path) for path in paths], cache_dir=str(cache_dir))
    except (pyarrow.ArrowException, datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        for path in paths:
            _check(path)
        reason = error.__cause__ or error
        raise ConfigError(f"paths.cache_dir={cache_dir.parent} cannot take a copy of {paths[0]} ({reason}).") from error


def _check(path: Path) -> None:
    """Read a file to its end, which only a whole one survives."""
    try:
        if path.suffix == ".arrow":
            datasets.Dataset.from_file(str(path))
        elif not pyarrow.parquet.read_table(path).num_rows:
            raise ValueError("it holds no rows")
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ConfigError(f"{os.fspath(path)} cannot be read ({error}); delete it and get it again.") from error


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()
