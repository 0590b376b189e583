"""What a check finds, and what all checks share."""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MEND_FIRST = "Mend what is broken first."
GB = 10**9


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    found: str
    remedy: str = ""
    """What to do; empty where nothing is missing."""
    broken: bool = False
    """It keeps every run from working."""


def brief(error: BaseException) -> str:
    """An exception in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def installed(package: str) -> str:
    """The version of a package by its record, without an import."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def imported(module: str) -> tuple[Any, str]:
    """A module and an empty string, or None and why it cannot be imported."""
    try:
        return import_module(module), ""
    except Exception as error:  # builds that do not fit raise RuntimeError, OSError and others
        return None, brief(error)
