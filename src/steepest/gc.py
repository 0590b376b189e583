"""`steepest gc`: the disk that old checkpoints and attempts hold, freed after saying how much that is."""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from steepest.errors import ConfigError
from steepest.runs.folder import RunFolder, find_run
from steepest.runs.lock import lock

OLDER = re.compile(r"step-\d+\.ckpt")
TORN = re.compile(r"\..+\.(\d+)\.tmp")


@dataclass(frozen=True, order=True)
class Item:
    """Something that can be freed: a file, or a folder with all that is in it."""

    path: Path
    what: str


def main(arguments: list[str]) -> int:
    """List what can be freed, ask, and free it; returns the exit code (1: something could not be removed).

    Raises:
        ConfigError: there is no such folder of runs, or no such run.
    """
    options = parse(arguments)
    folders = [find_run(name, options.runs_dir) for name in options.runs] or below(options.runs_dir)
    found: list[tuple[RunFolder, list[Item]]] = []
    for folder in {folder.path.resolve(): folder for folder in folders}.values():
        if reason := out_of_bounds(folder):
            print(f"{folder.path}: {reason}, left alone")
        else:
            found.append((folder, sorted(freeable(folder, options))))
    items = [item for _, group in found for item in group]
    if not items:
        print("Nothing to free.")
        return 0
    for item in items:
        print(f"{size(disk([item.path])):>9}  {item.path}  ({item.what})")
    total = size(disk(item.path for item in items))
    if not (options.yes or agreed(total)):
        print(f"{total} can be freed, nothing was; --yes frees it.")
        return 0
    return free(found, options)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="steepest gc",
        description="Frees the disk of older checkpoints of runs that have ended, of attempts kept aside and of files "
        "that killed processes left. Results stay, and so does what a cut run needs to go on.",
    )
    parser.add_argument("runs", metavar="RUN", nargs="*", help="a run folder, or an id below --runs-dir; default: all")
    parser.add_argument("--runs-dir", default="runs", help="the folder of runs")
    parser.add_argument("--yes", action="store_true", help="free without asking")
    kinds = {"attempts": "attempts kept aside", "checkpoints": "older checkpoints of runs that have ended"}
    for name, text in kinds.items():
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True, help=text)
    return parser.parse_args(arguments)


def below(runs_dir: str) -> list[RunFolder]:
    """The run folders of a folder.

    Raises:
        ConfigError: there is no such folder.
    """
    if not Path(runs_dir).is_dir():
        raise ConfigError(f"--runs-dir={runs_dir} is no folder; allowed is a folder of runs.")
    return [RunFolder(path) for path in sorted(Path(runs_dir).iterdir()) if (path / "status.json").is_file()]


def out_of_bounds(folder: RunFolder) -> str:
    """Why nothing in a run folder may be touched; empty if it may."""
    if folder.path.is_symlink() or (folder.path / "lock").is_symlink():
        return "a link"
    if folder.running:
        return "in use"
    try:
        readable = isinstance(folder.status.get("attempt"), int)
    except (AttributeError, ValueError, OSError):
        readable = False
    return "" if readable else "without a status.json that can be read"


def freeable(folder: RunFolder, options: argparse.Namespace) -> Iterator[Item]:
    """What a folder that no process works in holds beside its result. Links are neither followed nor removed."""
    aside, checkpoints = folder.path / "attempts", folder.path / "checkpoints"
    if options.attempts and real_folder(aside):
        for place in aside.iterdir():
            # The attempt in status.json may be half moved there, by a process that was killed.
            if real_folder(place) and re.fullmatch("[0-9]+", place.name) and int(place.name) < folder.status["attempt"]:
                yield Item(place, "an attempt kept aside")
    # A run that was cut off falls back to its older checkpoints if the last one does not load.
    if options.checkpoints and folder.has_result and folder.checkpoint("last").is_file() and real_folder(checkpoints):
        for file in checkpoints.iterdir():
            if OLDER.fullmatch(file.name) and real_file(file):
                yield Item(file, "an older checkpoint")
    for place in (folder.path, checkpoints):
        for file in place.iterdir() if real_folder(place) else ():
            writer = TORN.fullmatch(file.name)
            if writer and real_file(file) and not alive(int(writer[1])):
                yield Item(file, "left by a process that was killed")


def real_folder(path: Path) -> bool:
    """Whether it is a folder and no link to one."""
    return path.is_dir() and not path.is_symlink()


def real_file(path: Path) -> bool:
    """Whether it is a file and no link to one."""
    return path.is_file() and not path.is_symlink()


def alive(process: int) -> bool:
    """Whether this machine runs a process of that number."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def disk(paths: Iterable[Path]) -> int:
    """Bytes that the disk holds for files and folders and would be free without them; links are not followed."""
    held: dict[tuple[int, int], list[int]] = {}
    for path in paths:
        everything = [path, *(path.rglob("*") if real_folder(path) else ())]
        for file in everything:
            found = file.lstat()
            names = 1 if real_folder(file) else found.st_nlink
            entry = held.setdefault((found.st_dev, found.st_ino), [512 * found.st_blocks, names])
            entry[1] -= 1
    return sum(count for count, names in held.values() if names == 0)  # else it has a name elsewhere


def size(count: int) -> str:
    """A number of bytes for people, 1,000 of a unit to the next."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def agreed(total: str) -> bool:
    """Whether the person at the terminal says yes; without one nobody does."""
    return sys.stdin.isatty() and input(f"Free {total}? [y/N] ").strip().lower() in ("y", "yes")


def free(found: list[tuple[RunFolder, list[Item]]], options: argparse.Namespace) -> int:
    """Remove the items of each folder, and say how much that freed; returns the exit code (1: not all of it)."""
    freed, code = 0, 0
    for folder, items in found:
        if not items:
            continue
        try:
            with lock(folder.path / "lock"):  # since they were listed a run may have begun, or come to its end
                paths = [item.path for item in items if item in set(freeable(folder, options))]
                before = disk(paths)
                try:
                    for path in paths:
                        shutil.rmtree(path) if path.is_dir() else path.unlink()
                finally:
                    freed += before - disk(path for path in paths if path.exists())
        except (ConfigError, OSError) as error:
            print(f"steepest: {error}", file=sys.stderr)
            code = 1
    print(f"{size(freed)} freed.")
    return code
