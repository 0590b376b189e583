"""One process at a time in a run folder."""

import errno
import fcntl
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steepest.errors import ConfigError

_held: set[Path] = set()
"""The locks of this process, which must not be opened again: the system would let it take a lock twice, and would drop
it as soon as any file that leads to it is closed."""


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the body runs. A process that dies, by kill -9 too, holds nothing.

    A POSIX lock: it belongs to this process alone, so that no loader worker can outlive it with the lock in its hands.

    Raises:
        ConfigError: another process holds it.
        OSError: the file cannot be written.
    """
    key = path.absolute()
    if key in _held:
        raise ConfigError(taken(path))
    with path.open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise ConfigError(taken(path)) from None
            logging.getLogger("steepest").warning("%s: this file system has no locks (%s)", path, error.strerror)
        _held.add(key)
        try:
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            yield
        finally:
            _held.discard(key)


def is_held(path: Path) -> bool:
    """Whether a living process, this one included, holds the lock file."""
    if path.absolute() in _held:
        return True
    try:
        with path.open("r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN) and os.access(path, os.W_OK)
    return False


def taken(path: Path) -> str:
    """Who holds the lock, in a sentence."""
    holder = "this process" if path.absolute() in _held else path.read_text().strip() or "another process"
    return f"{path.parent} is in use by {holder}; allowed is one run at a time in a folder."
