"""Arrays on disk, memory-mapped: what texts become, so that only the first run reads and tokenises them."""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
import warnings
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1  # raise when tokenising, or the files below, change
CHECKED = 2**30
"""Bytes of an array up to which its checksum is looked at; of larger ones only the size."""
META = "meta.json"


@dataclass
class Stored:
    """Plain values, and arrays [N] by their names."""

    meta: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, dtype: np.dtype, chunks: Iterable[np.ndarray]) -> None:
        """Keep an array in memory."""
        self.arrays[name] = np.concatenate([np.empty(0, dtype), *(chunk.astype(dtype) for chunk in chunks)])


class _Folder(Stored):
    """Writes each array to a file as its chunks come, so that it never is in memory."""

    def __init__(self, path: Path) -> None:
        super().__init__({})
        self.path = path
        self.files: dict[str, dict[str, Any]] = {}

    def add(self, name: str, dtype: np.dtype, chunks: Iterable[np.ndarray]) -> None:
        crc = size = 0
        with (self.path / f"{name}.bin").open("wb") as file:
            for chunk in chunks:
                content = chunk.astype(dtype).tobytes()
                crc, size = zlib.crc32(content, crc), size + len(content)
                file.write(content)
        self.files[name] = {"dtype": np.dtype(dtype).name, "size": size, "crc": crc}


Make = Callable[[Stored], dict[str, Any]]
"""Adds the arrays one by one and returns the plain values (JSON)."""


@dataclass(frozen=True)
class Store:
    """One entry of the cache, a folder: what was made from these sources with these options.

    Args:
        folder: of the cache; created when needed.
        name: begins the entry's name, for people.
        decides: all that decides the content, as plain values.
    """

    folder: Path
    name: str
    decides: Any

    @property
    def key(self) -> str:
        """A digest of all that decides the content."""
        return hashlib.sha256(json.dumps([FORMAT, self.decides]).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """The folder of this entry."""
        return self.folder / f"{self.name}-{self.key[:16]}"

    def get(self, make: Make) -> Stored:
        """The entry, made if it is not there.

        Without room or permission there is a warning, and the arrays are made in memory.
        """
        found = self.load()
        if found is not None:
            return found
        try:
            return self._save(make)
        except OSError as error:
            warnings.warn(f"{self.folder}: the tokens were not kept for the next run ({error})", stacklevel=2)
        stored = Stored({})
        stored.meta = make(stored)
        return stored

    def load(self) -> Stored | None:
        """The content; None where a file is missing, torn or not ours."""
        try:
            head = json.loads((self.path / META).read_text(encoding="utf-8"))
            if head["key"] != self.key:
                return None
            return Stored(head["meta"], {name: self._map(name, **file) for name, file in head["files"].items()})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _map(self, name: str, dtype: str, size: int, crc: int) -> np.ndarray:
        path = self.path / f"{name}.bin"
        if path.stat().st_size != size:
            raise ValueError(f"{path} is torn")
        if not size:
            return np.empty(0, dtype)
        array = np.memmap(path, dtype, mode="c")  # copy on write: torch does not warn, and the file stays as it is
        if size <= CHECKED and zlib.crc32(array.data) != crc:
            raise ValueError(f"{path} is damaged")
        return array

    def _save(self, make: Make) -> Stored:
        """Write beside the entry and rename: another process sees all of it or nothing."""
        beside = self.folder / f".{self.path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}"
        try:
            beside.mkdir(parents=True)
            writer = _Folder(beside)
            meta = make(writer)
            head = {"key": self.key, "meta": meta, "files": writer.files}
            (beside / META).write_text(json.dumps(head), encoding="utf-8")
            with contextlib.suppress(OSError):  # another process may have been faster, or what lies there is damaged
                beside.rename(self.path)
            found = self.load()
            if found is None:
                shutil.rmtree(self.path, ignore_errors=True)
                beside.rename(self.path)
                found = self.load()
            if found is None:
                raise OSError(f"{self.path} does not keep what is written to it")
            return found
        finally:
            shutil.rmtree(beside, ignore_errors=True)
