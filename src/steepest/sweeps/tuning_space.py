"""What a search tunes: each optimizer's own space of conf/search, and what the command line adds by sweep syntax."""

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from steepest.errors import ConfigError, listed, shown
from steepest.runs.identity import ASIDE
from steepest.search import SCALES, Dimension, search_space

EDGE = 0.05
"""The share of a range, on its scale, that counts as its edge."""

PROBLEM = ("experiment", "task", "dataset")
"""Groups that say what is to be solved: values of different problems cannot be compared."""


@dataclass(frozen=True)
class Axis:
    """The values of one key: words of a command line, or numbers from low to high on a scale."""

    name: str
    """What the storage calls it; of an optimizer's own with the optimizer in front: `adamw.lr`."""
    key: str
    """As an override has it: `optimizer.lr`, `+model.width`."""
    words: tuple[str, ...] = ()
    low: float = math.nan
    high: float = math.nan
    scale: str = "linear"
    step: float | None = None
    """Between two values; None: all in between."""
    integer: bool = False

    def word(self, value: Any) -> str:
        """The override of a value; numbers to three digits where the range has all: what runs is what a reader sees."""
        if self.words:
            return f"{self.key}={value}"
        if not self.integer:
            value = float(f"{value:.12g}") if self.step else min(max(rounded(value), self.low), self.high)
        return f"{self.key}={value}"

    def share(self, value: float) -> float:
        """How far between low and high a value lies, on the scale."""
        there, _ = SCALES[self.scale]
        return (there(value) - there(self.low)) / ((there(self.high) - there(self.low)) or 1.0)

    def at(self, share: float) -> Any:
        """The value at a share of [0, 1)."""
        if self.words:
            return self.words[int(share * len(self.words))]
        there, back = SCALES[self.scale]
        low, high = there(self.low), there(self.high)
        if self.step:
            return self.low + self.step * int(share * (round((self.high - self.low) / self.step) + 1))
        found = back(low + share * (high - low))
        return round(found) if self.integer else min(max(found, self.low), self.high)

    def on_edge(self, value: Any) -> bool:
        """Whether a value lies so near to an end of its range that a wider one may be better."""
        return not self.words and self.low < self.high and not EDGE < self.share(value) < 1.0 - EDGE

    def __str__(self) -> str:
        if self.words:
            return ", ".join(self.words)
        kind = "integers " * self.integer
        by = f" by {self.step:g}" if self.step and (self.step != 1 or not self.integer) else ""
        return f"{kind}{self.low:g} to {self.high:g}{by}" + f", {self.scale}" * (self.scale != "linear")


@dataclass(frozen=True)
class Space:
    """All that is tuned, and all that is not."""

    optimizers: tuple[str, ...]
    """Those to choose from; each has dimensions of its own."""
    shared: tuple[Axis, ...]
    own: Mapping[str, tuple[Axis, ...]]
    fixed: tuple[str, ...]
    """Overrides that all runs have."""
    seeds: tuple[int, ...]

    def axes(self, optimizer: str) -> tuple[Axis, ...]:
        """The dimensions of a trial of an optimizer."""
        return (*self.shared, *self.own[optimizer])

    def overrides(self, optimizer: str, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial, its seed left out, from its values by the names of the dimensions."""
        chosen = [f"optimizer={optimizer}"] if len(self.optimizers) > 1 else []
        return [*self.fixed, *chosen, *(axis.word(values[axis.name]) for axis in self.axes(optimizer))]

    def middle(self, optimizer: str) -> list[str]:
        """The overrides of a trial in the middle of the space."""
        return self.overrides(optimizer, {axis.name: axis.at(0.5) for axis in self.axes(optimizer)})

    @property
    def record(self) -> dict[str, Any]:
        """What a study in a storage must agree on: values of another space or of other runs do not belong together."""
        axes = [*self.shared, *(axis for name in self.optimizers for axis in self.own[name])]
        return {
            "optimizers": [*self.optimizers],
            "space": {axis.name: f"{axis.key}: {axis}" for axis in axes},
            "fixed": sorted(word for word in self.fixed if re.split(r"[.=@/]", word.lstrip("+~"))[0] not in ASIDE),
            "seeds": [*self.seeds],
        }


def read_space(words: Sequence[Override], chosen: Callable[[list[str]], str]) -> Space:
    """The space of a command line.

    A key with several values, or a range, is tuned; in place of what conf/search has for it. One with a single value is
    that of all runs. `seed` is no dimension: a trial has all its seeds.

    Args:
        words: overrides, all of them.
        chosen: the optimizer that overrides without sweeps choose.

    Raises:
        ConfigError: an optimizer that is unknown or has nothing to tune, or values that cannot be tuned.
    """
    tuned = {_key(word): word for word in words if word.is_sweep_override()}
    for key in PROBLEM:
        if key in tuned:
            raise ConfigError(f"{tuned[key].input_line} is not possible in a search; allowed is one {key}.")
    fixed = [str(word.input_line) for word in words if not word.is_sweep_override()]
    for word in words:
        if _key(word) == "test" and word.value() != "none":
            raise ConfigError(
                f"{word.input_line} is not possible in a search; allowed is none: it selects on validation."
            )
    seeds = _seeds(tuned.pop("seed", None), [word for word in words if _key(word) == "seed"])
    fixed = [word for word in fixed if word.lstrip("+").partition("=")[0] not in ("seed", "test")]
    several = tuned.pop("optimizer", None)
    optimizers = tuple(dict.fromkeys(_words(several))) if several else (chosen(fixed),)
    given = {key: word for key, word in tuned.items() if _of_optimizer(key)}
    names = {_key(word) for word in words}
    own = {name: tuple(_own(name, given, names)) for name in optimizers}
    shared = tuple(_axis(key, word, None) for key, word in tuned.items() if not _of_optimizer(key))
    space = Space(optimizers, shared, own, (*fixed, "test=none"), seeds)
    for name in optimizers:
        if not space.axes(name):
            raise ConfigError(f"optimizer={name} has nothing left to tune; allowed is to leave some values open.")
    return space


def rounded(value: float) -> float:
    """A number to three digits, of its distance to 1 where that is small: 0.9991."""
    return round(1.0 - float(f"{1.0 - value:.3g}"), 12) if 0.9 < value < 1.0 else float(f"{value:.3g}")


def _own(optimizer: str, given: Mapping[str, Override], names: set[str]) -> Iterable[Axis]:
    """The dimensions of an optimizer: those of its file that the command line does not name, and those that it does."""
    try:
        dimensions = {f"optimizer.{_dotted(one.key)}": one for one in search_space(optimizer).dimensions}
    except ConfigError as error:
        if not given or "has no search space" not in str(error):
            raise
        dimensions = {}
    for key, dimension in dimensions.items():
        whole = f"optimizer.{dimension.key.partition('[')[0]}"  # the list that it is an entry of
        if not {key, whole} & names:
            yield _of_file(optimizer, key, dimension)
    for key, word in given.items():
        yield _axis(key, word, dimensions.get(key), optimizer)


def _of_file(optimizer: str, key: str, dimension: Dimension) -> Axis:
    name = f"{optimizer}.{key.removeprefix('optimizer.')}"
    if dimension.choices:
        return Axis(name, key, tuple(one if isinstance(one, str) else json.dumps(one) for one in dimension.choices))
    return Axis(name, key, low=dimension.low, high=dimension.high, scale=dimension.scale)


def _axis(key: str, word: Override, before: Dimension | None, optimizer: str | None = None) -> Axis:
    """A dimension of the command line; its scale, where no tag says one, is what conf/search has for the key."""
    name = f"{optimizer}.{key.removeprefix('optimizer.')}" if optimizer else key
    whole, value = word.get_key_element(), word.value()
    if word.is_choice_sweep():
        words = tuple(dict.fromkeys(_words(word)))
        if not words:
            raise ConfigError(f"{word.input_line} fits nothing; allowed are patterns of names that exist.")
        return Axis(name, whole, words)
    assert isinstance(value, IntervalSweep | RangeSweep)
    tags = [*value.tags]
    if strange := [tag for tag in tags if tag not in SCALES] or tags[1:]:
        raise ConfigError(f"{word.input_line}: tag {shown(strange[0])} is not possible; allowed is {_one_of(SCALES)}.")
    if isinstance(value, RangeSweep):
        numbers = sorted(value.range())
        if not numbers:
            raise ConfigError(f"{word.input_line} is empty; allowed is a range with values.")
        low, high, step = numbers[0], numbers[-1], abs(value.step)
        scale = tags[0] if tags else "linear"
    else:
        assert value.start is not None
        assert value.end is not None
        low, high, step = value.start, value.end, None
        scale = tags[0] if tags else before.scale if before and not before.choices else "linear"
    integer = all(isinstance(one, int) for one in (low, high, step or 0))
    if not (-math.inf < low <= high < math.inf) or (low == high and step is None):
        raise ConfigError(f"{word.input_line} is not possible; allowed is a lower number before a higher one.")
    if (scale == "log" and low <= 0) or (scale == "log_one_minus" and high >= 1):
        need = "above 0" if scale == "log" else "below 1"
        raise ConfigError(f"{word.input_line} is not possible on the scale {scale}; allowed are numbers {need}.")
    if scale != "linear" and ((step and (step != 1 or not integer)) or (integer and scale != "log")):
        raise ConfigError(f"{word.input_line} is not possible on the scale {scale}; allowed is an interval.")
    if scale == "linear" and integer:
        step = step or 1
    return Axis(name, whole, (), low, high, scale, step if scale == "linear" else None, integer)


def _seeds(several: Override | None, all_of_them: Sequence[Override]) -> tuple[int, ...]:
    """The seeds of every trial: those that the command line names, and 0 where it names none."""
    found: list[Any] = [word.value() for word in all_of_them[-1:]] or [0]
    if several is not None:
        found = [] if several.is_interval_sweep() else [*dict.fromkeys(several.sweep_iterator())]
    if not found or not all(type(one) is int for one in found):
        line = all_of_them[-1].input_line
        raise ConfigError(f"{line} is not possible; allowed are integers, such as seed=0,1,2 or seeds=3.")
    return tuple(found)


def _words(word: Override) -> list[str]:
    """The values of a key as words of a command line."""
    if not word.is_choice_sweep():
        raise ConfigError(
            f"{word.input_line} is not possible; allowed are names, such as optimizer=adamw,sgd_momentum."
        )
    return list(word.sweep_string_iterator())


def _key(word: Override) -> str:
    """What an override sets: a key, or a group and where it stands."""
    return word.get_key_element().lstrip("+~")


def _of_optimizer(key: str) -> bool:
    return key.startswith("optimizer.")


def _dotted(key: str) -> str:
    """`betas[1]` as the command line has it: betas.1."""
    return key.replace("[", ".").removesuffix("]")


def _one_of(names: Iterable[str]) -> str:
    return listed(names, "or")
