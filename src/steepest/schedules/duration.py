"""Durations in a run: 500 (optimizer steps), 0.05 (fraction of the run) or "3 epochs"."""

import math
import re

from steepest.errors import ConfigError, shown

Duration = int | float | str
"""An int counts optimizer steps, a float from 0.0 to 1.0 is a fraction of the run, a str such as "3 epochs" epochs.

Mind that 1 is one step and 1.0 the whole run.
"""

EPOCHS = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*epochs?\s*")


def check(value: Duration, key: str, positive: bool = False) -> None:
    """Raise ConfigError, naming `key`, for what is not a duration (or, if `positive`, not longer than zero)."""
    if isinstance(value, str):
        match = EPOCHS.fullmatch(value)
        amount = float(match[1]) if match else math.nan
    elif isinstance(value, float):
        amount = value if value <= 1.0 else math.nan
    else:
        amount = value if isinstance(value, int) and not isinstance(value, bool) else math.nan
    if not (0 < amount < math.inf if positive else 0 <= amount < math.inf):
        least, zero = ("1", "above 0.0, up to") if positive else ("0", "from 0.0 to")
        raise ConfigError(
            f"{key}={shown(value)} is not a duration; allowed are optimizer steps (an integer of {least} or more), "
            f'a fraction of the run ({zero} 1.0) or epochs ("3 epochs").'
        )


def without_epochs(value: Duration, steps_per_epoch: int) -> int | float:
    """The same duration with epochs turned into whole steps; steps and fractions stay as they are."""
    if not isinstance(value, str):
        return value
    match = EPOCHS.fullmatch(value)
    assert match, value
    return round(float(match[1]) * steps_per_epoch)


def in_steps(value: Duration, total: int) -> float:
    """A duration as a real number of steps in a run of `total` steps: a quarter of ten steps is 2.5.

    Raises:
        ValueError: epochs, whose length is unknown here; `Schedule.bind` turns them into steps.
    """
    if isinstance(value, str):
        raise ValueError(f"{value!r} is in epochs; call bind() first.")
    return value * total if isinstance(value, float) else float(value)


def to_steps(value: Duration, total: int, steps_per_epoch: int, key: str) -> int:
    """A duration as the nearest whole number of steps, in a run of `total` steps.

    Raises:
        ConfigError: what is not a duration, under the name `key`.
    """
    check(value, key)
    return round(in_steps(without_epochs(value, steps_per_epoch), total))


def periods_done(step: int, period: float) -> int:
    """How many periods of that many steps have passed; 33 / 3.3 counts as 10, whatever floats make of it."""
    return math.floor(step / period + 1e-9)
