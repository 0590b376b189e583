"""Checks of a model's hyperparameters and of the images it gets; what does not fit is a one-sentence `ConfigError`."""

import math
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

from steepest.errors import ConfigError, shown

Choice = TypeVar("Choice", str, int)


def image_shape(model: str, input_shape: Sequence[int], num_classes: int, min_side: int = 1) -> tuple[int, int, int]:
    """Return (channels, height, width) if `model` can classify such images.

    `model` is the name used in messages; `min_side` is the least height and width in px.
    """
    shape = tuple(input_shape)
    if len(shape) != 3 or not all(_is_whole(size, 1) for size in shape):
        raise ConfigError(
            f"model={model} needs images of shape (channels, height, width), but the dataset's input_shape is {shape}."
        )
    channels, height, width = shape
    if min(height, width) < min_side:
        raise ConfigError(
            f"model={model} needs images of at least {min_side} x {min_side} px, "
            f"but the dataset's input_shape (channels, height, width) is {shape}."
        )
    if not _is_whole(num_classes, 2):
        raise ConfigError(
            f"model={model} is a classifier of at least 2 classes, but the dataset's num_classes is {num_classes!r}."
        )
    return channels, height, width


def whole(field: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`."""
    if not _is_whole(value, least):
        raise ConfigError(f"model.{field}={shown(value)} must be a whole number of at least {least}.")
    return int(value)


def widths(field: str, value: Any) -> list[int]:
    """A list of at least one layer width."""
    if (
        isinstance(value, str)
        or not isinstance(value, Sequence)
        or not value
        or not all(_is_whole(w, 1) for w in value)
    ):
        raise ConfigError(
            f"model.{field}={shown(value)} must be a list of one or more whole numbers >= 1, such as [64, 32]."
        )
    return list(value)


def probability(field: str, value: Any) -> float:
    """A dropout probability: 1 would drop everything."""
    if not _is_number(value) or not 0 <= value < 1:
        raise ConfigError(f"model.{field}={shown(value)} must be a number in [0, 1).")
    return float(value)


def positive(field: str, value: Any) -> float:
    """A finite number above zero."""
    if not _is_number(value) or not 0 < value < float("inf"):
        raise ConfigError(f"model.{field}={shown(value)} must be a finite number above 0.")
    return float(value)


def finite(field: str, value: Any) -> float:
    """A finite number."""
    if not _is_number(value) or not math.isfinite(value):
        raise ConfigError(f"model.{field}={shown(value)} must be a finite number.")
    return float(value)


def flag(field: str, value: Any) -> bool:
    """True or false; the string "false" is not taken for true."""
    if not isinstance(value, bool):
        raise ConfigError(f"model.{field}={shown(value)} must be true or false.")
    return value


def choice(field: str, value: Any, allowed: Collection[Choice]) -> Choice:
    """One of `allowed`."""
    for option in allowed:
        if value == option and type(value) is type(option):
            return option
    raise ConfigError(f"model.{field}={shown(value)} must be one of {', '.join(map(str, allowed))}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
