"""Decoded images on disk, so that only the first run of a data set decodes them."""

import contextlib
import hashlib
import json
import os
import pickle
import uuid
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

FORMAT = 1  # raise when decoding or the content below changes


@dataclass(frozen=True)
class DecodedCache:
    """One entry: what was made from these files with these options.

    Args:
        folder: of the cache; created when needed.
        name: begins the file's name, for people.
        files: sources, recognised by name, size and time of the last change.
        options: what else decides the content, as plain values.
    """

    folder: Path
    name: str
    files: Sequence[Path]
    options: Sequence[Any]

    @cached_property
    def key(self) -> str:
        """A digest of all that decides the content."""
        states = [(file.name, (state := file.stat()).st_size, state.st_mtime_ns) for file in self.files]
        return hashlib.sha256(json.dumps([FORMAT, states, self.options]).encode()).hexdigest()

    @property
    def path(self) -> Path:
        """The file of this entry."""
        return self.folder / f"{self.name}-{self.key[:16]}.pt"

    def load(self) -> dict[str, Any] | None:
        """The content; None where the file is missing, torn or not ours."""
        try:
            with zipfile.ZipFile(self.path) as archive:  # torch does not look at the checksums
                if archive.testzip() is not None:
                    return None
            content = torch.load(self.path, weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile):
            return None
        return content if isinstance(content, dict) and content.get("key") == self.key else None

    def save(self, content: dict[str, Any]) -> None:
        """Write beside the file and rename: another process sees all of it or nothing.

        Without room or permission there is a warning, and the next run decodes again.
        """
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save({**content, "key": self.key}, beside)
            beside.replace(self.path)
        except (OSError, RuntimeError) as error:  # torch raises the latter when the disk is full
            warnings.warn(f"{self.folder}: the decoded images were not kept for the next run ({error})", stacklevel=2)
            with contextlib.suppress(OSError):
                beside.unlink()
