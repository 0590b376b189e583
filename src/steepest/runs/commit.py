"""The commit of the code that runs."""

import subprocess
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

COMMIT, DIFF = "commit.txt", "dirty.diff"
"""Beside a copy of this package: the commit it was made of, and what of it was not committed."""


@cache
def commit() -> str | None:
    """The commit, with `-dirty` behind it if something is not committed; None: this is no checkout, nor a copy of one.

    It does not decide a result, as the digest of the source does: it is for people, to find that source again.
    """
    beside = PACKAGE.parent
    if (beside / COMMIT).is_file():
        return (beside / COMMIT).read_text().strip() + "-dirty" * (beside / DIFF).is_file()
    checkout = PACKAGE.parents[1]
    if not (checkout / ".git").exists():
        return None
    found = git(checkout, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return found.decode().strip() if found else None


def git(checkout: Path, *words: str) -> bytes | None:
    """What git says of a checkout; None where it does not."""
    try:
        return subprocess.run(["git", "-C", checkout, *words], capture_output=True, check=True, timeout=60).stdout  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError):
        return None
