"""`steepest prepare`: get data sets once, before jobs use them; a job never downloads."""

import difflib
import hashlib
from pathlib import Path
from typing import Any

from steepest.config import compose, conf_dir
from steepest.errors import ConfigError

USAGE = """usage: python scripts/prepare.py DATASET ... [key=value ...]

Downloads data sets to paths.data_dir (the environment's STEEPEST_DATA_DIR, or data), checks them by loading them, and
prints the sha256 of the new files. What is there already is not downloaded again.

  python scripts/prepare.py fashion_mnist cifar10
  python scripts/prepare.py cifar10_hf paths.data_dir=/scratch/data

DATASET is one of: """


def main(arguments: list[str]) -> int:
    """Prepare the data sets named on the command line; returns the exit code (2: none is named).

    Raises:
        ConfigError: a name is unknown, or a data set cannot be got.
    """
    known = sorted(file.stem for file in (conf_dir() / "dataset").glob("*.yaml"))
    if not arguments or {"-h", "--help"} & set(arguments):
        print(USAGE + ", ".join(known) + ".")
        return 0 if arguments else 2
    names = [argument for argument in arguments if "=" not in argument]
    overrides = [argument for argument in arguments if "=" in argument]
    for name in names:
        check_name(name, known)
    for name in names:
        prepare(name, overrides)
    return 0


def check_name(name: str, known: list[str]) -> None:
    """Raise a ConfigError that offers the nearest names, unless this one is known."""
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise ConfigError(f"dataset={name} is unknown; the nearest names are {', '.join(near)}.")


def prepare(name: str, overrides: list[str]) -> None:
    """Get one data set unless it is there, load it, and print what it holds.

    Raises:
        ConfigError: it cannot be got, or what is there is damaged.
    """
    cfg = compose([f"dataset={name}", *overrides])

    from steepest.build import build
    from steepest.datasets.data import MissingDataError

    data = build(cfg.dataset)
    before = files_in(data.location)
    try:
        data.setup()
        state = "nothing to prepare, it comes with a package" if data.location is None else "already there"
    except MissingDataError:
        print(f"{name}: downloading to {data.location} ...")
        download(name, data)
        data.setup()
        state = "downloaded"
    where = "" if data.location is None else f", {data.location}"
    print(f"{name}: {state}{where}")
    print(f"  {data.describe()}")
    for file in sorted(files_in(data.location) - before):
        print(f"  sha256 {sha256(file)}  {file}")


def download(name: str, data: Any) -> None:
    """Download; what the net or the disk refuses becomes a ConfigError."""
    try:
        data.download()
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"dataset={name} could not be downloaded ({reason}): check the network, or put its files under "
            f"{data.location} by hand."
        ) from error


def files_in(folder: Path | None) -> set[Path]:
    """All files in a folder and below."""
    return set() if folder is None else {file for file in folder.rglob("*") if file.is_file()}


def sha256(file: Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
