"""The one exception for what the user can mend, and how its sentences are worded."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class ConfigError(ValueError):
    """Bad input: one sentence that names the key, the value and what is allowed. The command exits with code 2."""


def shown(value: Any) -> str:
    """A value as it is written on the command line: null, true, [0.9, 0.999]; text that reads otherwise in quotes."""
    if isinstance(value, str):
        return f"'{value}'" if _reads_as_another(value) else value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(shown, value)) + "]"
    return str(value)


def _reads_as_another(text: str) -> bool:
    if not text.strip() or text.lower() in ("null", "true", "false"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def listed(words: Iterable[str], last: str = "and") -> str:
    """Words as a list in a sentence: a, b and c."""
    *most, final = words
    return f"{', '.join(most)} {last} {final}" if most else final


def near(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """The known names that `name` may have been meant for, the nearest first, whatever their case."""
    by_lower = {word.lower(): word for word in known}
    return [by_lower[word] for word in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=cutoff)]


def did_you_mean(names: Sequence[str]) -> str:
    """The question that offers these names; empty where there is none."""
    return f" did you mean {listed(names, 'or')}?" if names else ""
