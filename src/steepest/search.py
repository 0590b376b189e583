"""The space that a study tunes an optimizer in: conf/search/<optimizer>.yaml, or its family's. No run reads it."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from steepest.config import conf_dir
from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.targets import target

SCALES = {
    "linear": (lambda x: x, lambda y: y),
    "log": (math.log, math.exp),
    "log_one_minus": (lambda x: -math.log1p(-x), lambda y: -math.expm1(-y)),
}
"""A scale's function, which rises, and its inverse. The last is for momenta and betas: 0.9, 0.99, 0.999 are even."""

LIMITS = {
    "linear": (-sys.float_info.max, sys.float_info.max),
    "log": (sys.float_info.min, sys.float_info.max),
    "log_one_minus": (-sys.float_info.max, math.nextafter(1.0, 0.0)),
}
"""The least and the greatest number on a scale."""

RANGE, CHOICES, BESIDE = ("low", "high", "scale"), ("choices",), ("typical", "source", "widen")


@dataclass(frozen=True)
class Dimension:
    """The values of one hyperparameter: from low to high on a scale, or choices."""

    key: str
    """Its name, such as `lr`, or one of a list's: `betas[1]`."""
    source: str
    low: float = math.nan
    high: float = math.nan
    scale: str = "linear"
    choices: tuple[Any, ...] = ()
    typical: tuple[float, float] | None = None
    """The specification's typical range: a label, too narrow to be the space."""
    widen: bool = True
    """Whether a search may go beyond low and high; not where the range is what is compared."""

    @property
    def numeric(self) -> bool:
        """Whether it has a range; choices have no order, and no border."""
        return not self.choices

    @property
    def floor(self) -> float:
        """The least share that a widened search may reach: where a value that starts at 0 or above would be negative.

        A logarithm only comes near 0.
        """
        if not self.widen:
            return 0.0
        return self.share(0.0) if self.low >= 0.0 and self.scale != "log" else -math.inf

    def holds(self, u: float) -> bool:
        """Whether a share is one of this dimension: [0, 1) of choices, [0, 1] of a range, any where that may widen."""
        if self.choices:
            return 0.0 <= u < 1.0
        return math.isfinite(u) if self.widen else 0.0 <= u <= 1.0

    def value(self, u: float) -> Any:
        """The value at a share u; beyond [0, 1] it goes on along the scale, as far as the scale allows."""
        if self.choices:
            return self.choices[int(u * len(self.choices))]
        there, back = SCALES[self.scale]
        low, high = there(self.low), there(self.high)
        least, most = self.low, self.high
        if not 0.0 <= u <= 1.0:
            least, most = LIMITS[self.scale]
            least = max(least, 0.0) if self.low >= 0.0 else least
        try:
            return min(max(back(low + u * (high - low)), least), most)
        except OverflowError:  # so far beyond that the number has no floating point
            return least if self.scale == "log_one_minus" else most

    def share(self, value: float) -> float:
        """How far between low and high a value lies, on the scale; infinite where the scale does not reach."""
        there, _ = SCALES[self.scale]
        low, high = there(self.low), there(self.high)
        try:
            return (there(value) - low) / (high - low)
        except ValueError:  # the logarithm of a weight decay of 0
            return -math.inf if value < self.low else math.inf


@dataclass(frozen=True)
class SearchSpace:
    """The space of one optimizer."""

    optimizer: str
    file: str
    """The optimizer whose file it is: itself, or its family."""
    dimensions: tuple[Dimension, ...]
    defaults: Mapping[str, Any]
    """All hyperparameters as the optimizer's yaml states them."""


def search_space(optimizer: str, conf: Path | None = None) -> SearchSpace:
    """The space of an optimizer; where it has no file, that of the nearest class it derives from which has one.

    Of a family's space the hyperparameters that the optimizer does not have are left out.

    Args:
        optimizer: a value of the group `optimizer`.
        conf: the configuration folder.

    Raises:
        ConfigError: an unknown optimizer, one without a space, or a file that is not as it should be.
    """
    conf = conf or conf_dir()
    known = sorted(file.stem for file in (conf / "optimizer").glob("*.yaml"))
    if optimizer not in known:
        meant = did_you_mean(near(optimizer, known))
        raise ConfigError(f"optimizer={shown(optimizer)} is unknown;{meant} allowed are {', '.join(known)}.")
    node = _loaded(conf / "optimizer" / f"{optimizer}.yaml")
    defaults = {key: value for key, value in node.items() if not key.startswith("_")}
    for name in _family(optimizer, node):
        file = conf / "search" / f"{name}.yaml"
        if file.is_file():
            entries = _loaded(file)
            if name != optimizer:
                entries = {key: entry for key, entry in entries.items() if _has(defaults, key)}
            dimensions = tuple(_dimension(f"search/{name}.yaml", key, entries[key], defaults) for key in entries)
            return SearchSpace(optimizer, name, dimensions, defaults)
    raise ConfigError(f"optimizer={optimizer} has no search space; allowed is a file search/{optimizer}.yaml.")


def restricted(space: SearchSpace, keys: Sequence[str]) -> SearchSpace:
    """The space of some hyperparameters alone, in the order of `keys`; the others keep their defaults.

    Raises:
        ConfigError: a key that the space does not have, or the same one twice.
    """
    found = {dimension.key: dimension for dimension in space.dimensions}
    for i, key in enumerate(keys):
        if key not in found or key in keys[:i]:
            state = "there twice;" if key in found else f"unknown;{did_you_mean(near(str(key), found))}"
            raise ConfigError(
                f"keys=[{', '.join(map(str, keys))}]: {key} is {state} the search space of {space.optimizer} has "
                f"{listed(found or ['nothing'])}, each once."
            )
    return replace(space, dimensions=tuple(found[key] for key in keys))


def sample(space: SearchSpace, point: Sequence[float]) -> dict[str, Any]:
    """The hyperparameters at a point of the unit cube, such as one of `scipy.stats.qmc.Sobol`.

    Args:
        space: of an optimizer.
        point: a share for each dimension: of [0, 1) for choices; of [0, 1] for a range, or beyond it where the search
            was widened: the value is then extrapolated on the scale, and stays what it may be (a logarithm above 0, a
            beta below 1, a number whose range has nothing negative at 0 or above).

    Returns:
        Those of the space, lists whole: {"lr": 3e-4, "betas": [0.9, 0.99]}.
    """
    fits = len(point) == len(space.dimensions)
    if not fits or not all(d.holds(u) for d, u in zip(space.dimensions, point, strict=True)):
        raise ValueError(f"{list(point)} is no point of the space of {', '.join(d.key for d in space.dimensions)}.")
    setting: dict[str, Any] = {}
    for dimension, u in zip(space.dimensions, point, strict=True):
        name, place = _parts(dimension.key)
        if place is None:
            setting[name] = dimension.value(float(u))
        else:
            setting.setdefault(name, list(space.defaults[name]))[place] = dimension.value(float(u))
    return setting


def on_edge(space: SearchSpace, setting: Mapping[str, Any], margin: float = 0.05) -> list[str]:
    """The hyperparameters of a setting that lie on a border of their range, or beyond it.

    A best value there says that the space may be too narrow. Choices have no border.

    Args:
        space: of an optimizer.
        setting: as `sample` gives it.
        margin: the share of a range, on its scale, that counts as its border. Quasi-random points fall into each
            border of this width about margin times their number.
    """
    ranges = [dimension for dimension in space.dimensions if not dimension.choices]
    return [d.key for d in ranges if not margin < d.share(_value(setting, d.key)) < 1.0 - margin]


def _loaded(file: Path) -> dict[str, Any]:
    found = OmegaConf.to_container(OmegaConf.load(file))
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{file.parent.name}/{file.name} holds nothing; allowed is a mapping.")
    return {str(key): value for key, value in found.items()}


def _family(optimizer: str, node: Mapping[str, Any]) -> Iterator[str]:
    """The optimizer, then the modules of the classes that its class derives from."""
    yield optimizer
    for base in getattr(target(node), "__mro__", ()):
        yield base.__module__.rpartition(".")[2]


def _parts(key: str) -> tuple[str, int | None]:
    """`betas[1]` is ("betas", 1), `lr` is ("lr", None)."""
    name, bracket, place = key.removesuffix("]").partition("[")
    return name, int(place) if bracket else None


def _value(values: Mapping[str, Any], key: str) -> Any:
    name, place = _parts(key)
    return values[name] if place is None else values[name][place]


def _has(values: Mapping[str, Any], key: str) -> bool:
    try:
        _value(values, key)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True


def _dimension(file: str, key: str, entry: Any, defaults: Mapping[str, Any]) -> Dimension:
    """An entry of a file as a dimension; raises ConfigError where it is none."""
    if not _has(defaults, key):
        meant = did_you_mean(near(key, defaults))
        raise ConfigError(f"{file}: {key} is unknown;{meant} the optimizer has {listed(defaults)}.")
    kind = CHOICES if isinstance(entry, dict) and "choices" in entry else RANGE
    if not isinstance(entry, dict) or not {*kind, "source"} <= {*entry} <= {*kind, *BESIDE}:
        raise ConfigError(
            f"{file}: {key}={shown(entry)} is not possible; allowed are low, high and scale, or choices, with source "
            "and, where it has them, typical and widen."
        )

    def refuse(name: str, allowed: str) -> ConfigError:
        return ConfigError(f"{file}: {key}.{name}={shown(entry[name])} is not possible; allowed is {allowed}.")

    if not isinstance(entry["source"], str) or not entry["source"]:
        raise refuse("source", "text")
    if kind is CHOICES:
        choices = entry["choices"]
        if not isinstance(choices, list) or not choices or any(choices.count(one) > 1 for one in choices):
            raise refuse("choices", "a list of different values")
        numbers = [one for one in choices if _number(one)] or [math.nan]
        low, high = min(numbers), max(numbers)
    else:
        low, high, scale = (entry[name] for name in RANGE)
        if scale not in SCALES:
            raise refuse("scale", f"one of {', '.join(SCALES)}")
        least, most = {"log": (0.0, math.inf), "log_one_minus": (-math.inf, 1.0)}.get(scale, (-math.inf, math.inf))
        if not _number(low) or not least < low:
            raise refuse("low", f"a number above {least:g}" if math.isfinite(least) else "a number")
        if not _number(high) or not low < high < most:
            raise refuse(
                "high", f"a number above low={low:g}" + (f" and below {most:g}" if math.isfinite(most) else "")
            )
    typical = entry.get("typical")
    if typical is not None:
        pair = isinstance(typical, list) and len(typical) == 2 and all(map(_number, typical))
        if not pair or not low <= typical[0] <= typical[1] <= high:
            raise refuse("typical", f"a list of 2 numbers from {low:g} to {high:g}")
    if not isinstance(entry.get("widen", True), bool) or ("widen" in entry and kind is CHOICES):
        raise refuse("widen", "true or false, and nothing beside choices")
    given: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
    return Dimension(key, **given)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
