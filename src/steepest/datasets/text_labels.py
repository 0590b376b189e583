"""Labels as files give them, as numbers of classes."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from steepest.errors import ConfigError, shown


def numbered(
    labels: Mapping[str, Sequence[Any]], names: Sequence[str] | None, key: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The labels of each part as int64 [n], and the names of the classes.

    Texts are the names of classes, unless they all are whole numbers; those are the classes' numbers.

    Args:
        labels: of the parts, train among them.
        names: of the classes; None: the texts that the training part has, in the order of Unicode, or the numbers
            from 0 to its largest.
        key: what the labels are called in messages.

    Raises:
        ConfigError: a label that is none, or no class of the training part.
    """
    count = len(labels["train"])
    values = {
        part: [_plain(value, key, part, row) for row, value in enumerate(found)] for part, found in labels.items()
    }
    if all(isinstance(value, int) for found in values.values() for value in found):
        classes = len(names) if names is not None else max(map(int, values["train"]), default=0) + 1
        if names is None and classes > max(2, count):
            raise ConfigError(
                f"{key} has the class number {classes - 1} for {count} texts; allowed are classes from 0."
            )
        numbers: dict[Any, int] = {number: number for number in range(classes)}
        names = [str(number) for number in range(classes)] if names is None else names
    else:
        names = sorted({str(value) for value in values["train"]}) if names is None else names
        values = {part: [str(value) for value in found] for part, found in values.items()}
        numbers = {name: number for number, name in enumerate(names)}
    for part, found in values.items():
        for row, value in enumerate(found):
            if value not in numbers:
                raise ConfigError(
                    f"{key} has the label {shown(value)} in row {row} of its {part} part; allowed are the "
                    f"{len(names)} classes from {next(iter(numbers), '?')} to {next(reversed(numbers), '?')}."
                )
    return {part: np.array([numbers[value] for value in found], np.int64) for part, found in values.items()}, list(
        names
    )


def _plain(value: Any, key: str, part: str, row: int) -> int | str:
    """A label as a number where it reads as a whole one, else as its text."""
    if isinstance(value, str) and value:
        return int(value) if re.fullmatch(r"-?\d{1,18}", value) else value
    if isinstance(value, int):  # true and false are 1 and 0
        return int(value)
    raise ConfigError(
        f"{key} has the label {shown(value)} in row {row} of its {part} part; allowed are names and whole numbers."
    )
