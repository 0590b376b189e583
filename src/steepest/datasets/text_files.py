"""Where text data lies: files of one kind, their parts by their names, and how `steepest prepare` gets them."""

import glob
import re
import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from steepest.datasets.data import MissingDataError
from steepest.errors import ConfigError, listed

PLAIN = (".txt", ".text", ".tokens", ".raw")
TABLES = (".arrow", ".parquet", ".csv", ".tsv", ".jsonl", ".json")
PARTS = {"train": "train", "test": "test", "validation": "validation", "valid": "validation", "val": "validation"}
PARTS |= {"dev": "validation"}


@dataclass(frozen=True)
class TextFiles:
    """Files of a data set.

    Args:
        name: of the data set, for messages.
        path: a file, a folder, or a glob; None: only `origin` says where. In a folder the files of the first kind that
            it holds count: Arrow (what `save_to_disk` wrote), Parquet, CSV, TSV, JSON lines, then plain text.
        origin: what `download` gets: the address of a file (https://...), a list of addresses, or a hub id, with a
            colon and its configuration where it has some; None: the files are put there by hand.
        hub_dir: folder of the copies from the hub.
    """

    name: str
    path: str | None
    origin: str | list[str] | None
    hub_dir: str

    def __post_init__(self) -> None:
        if self.path is None and not isinstance(self.origin, str):
            raise ConfigError(
                "dataset.path=null is not possible without dataset.origin=OWNER/NAME of a data set on the hub; allowed "
                "are files, folders and globs."
            )

    @property
    def place(self) -> Path:
        """What is looked at: the path, or a copy from the hub where nothing lies there."""
        copy = self._copy
        if self.path is None or (copy is not None and not _find(Path(self.path))):
            assert copy is not None
            return copy
        return Path(self.path)

    @property
    def location(self) -> Path:
        """The folder that the files lie in or belong to."""
        place = self.place
        while place.suffix in (*TABLES, *PLAIN) or glob.has_magic(str(place)):
            place = place.parent
        return place

    @property
    def _copy(self) -> Path | None:
        """Where a copy from the hub belongs."""
        if not isinstance(self.origin, str) or self.origin.startswith("https://"):
            return None
        if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?(:[\w.-]+)?", self.origin):
            raise ConfigError(
                f"dataset.origin={self.origin} is not possible; allowed are null, addresses (https://...) and hub ids "
                "such as Salesforce/wikitext:wikitext-2-v1."
            )
        return Path(self.hub_dir) / self.origin.replace(":", "/")

    def parts(self) -> dict[str, list[Path]]:
        """The files of train, and those of test and validation where some have such a name; else all are train's.

        Raises:
            MissingDataError: there are none.
        """
        files = _find(self.place)
        if not files:
            places = listed([str(place) for place in (self.path, self._copy) if place is not None], "or")
            get = f"run: make data DATASETS={self.name}" if self.origin else "put files there, or set dataset.path"
            get += f" ARGS=dataset.origin={self.origin}" if self._copy else ""
            raise MissingDataError(f"dataset={self.name}: no data under {places}; {get}")
        found: dict[str, list[Path]] = {}
        for file in files:
            found.setdefault(_part(file), []).append(file)
        named = {part: chosen for part, chosen in found.items() if part}
        known = "train" in named and (len(named) > 1 or len(found) == 1)  # else one name may be there by chance
        return named if known else {"train": files}

    def state(self) -> list[Any]:
        """Name, size and time of the last change of every file."""
        files = [(part, file) for part, found in sorted(self.parts().items()) for file in found]
        return [(part, file.name, (at := file.stat()).st_size, at.st_mtime_ns) for part, file in files]

    def download(self) -> None:
        """Get the files, whole or not at all.

        Raises:
            OSError, RuntimeError: what the net or the disk refuses.
        """
        if self.origin is None:
            raise RuntimeError("there is no address to get it from: dataset.origin=null")
        copy = self._copy
        if copy is None:
            self._fetch([self.origin] if isinstance(self.origin, str) else self.origin)
            return
        beside = copy.with_name(f".{copy.name}.part")
        shutil.rmtree(beside, ignore_errors=True)
        assert isinstance(self.origin, str)
        hub, _, configuration = self.origin.partition(":")
        try:
            datasets.load_dataset(hub, configuration or None).save_to_disk(str(beside))
        except (datasets.exceptions.DatasetsError, ValueError) as error:  # the latter: no such configuration
            raise RuntimeError(str(error)) from error
        shutil.rmtree(copy, ignore_errors=True)
        beside.rename(copy)

    def _fetch(self, addresses: list[str]) -> None:
        """Files by their addresses: one to the path itself where that has an ending, several into it."""
        place = self.place
        for address in addresses:
            target = place if len(addresses) == 1 and place.suffix else place / address.rpartition("/")[2]
            target.parent.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}.part")
            if not address.startswith("https://"):
                raise RuntimeError(f"{address} is no address; allowed are those that begin with https://")
            with urllib.request.urlopen(address, timeout=60) as answer, beside.open("wb") as file:  # noqa: S310
                shutil.copyfileobj(answer, file)
            beside.rename(target)


def _find(place: Path) -> list[Path]:
    """The files of the first kind that there are."""
    if place.is_file():
        return [place]
    if place.is_dir():
        visible = [file for file in sorted(place.rglob("*")) if not file.name.startswith((".", "cache-"))]
        files = [file for file in visible if file.is_file()]
    else:
        files = sorted(Path(name) for name in glob.glob(str(place)) if Path(name).is_file())  # noqa: PTH207
    for kind in (*((ending,) for ending in TABLES), PLAIN):
        if chosen := [file for file in files if file.suffix in kind]:
            return chosen
    return []


def _part(file: Path) -> str:
    """The part that a file's name, or its folder's, says it holds: train-00000-of-00001.parquet, wiki.valid.tokens.

    Empty where they say nothing.
    """
    for name in (file.stem, file.parent.name):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in PARTS:
                return PARTS[word]
    return ""


def kinds() -> str:
    """The endings that can be read, for messages."""
    return listed((*TABLES, *PLAIN))
