"""What of a contender is searched: its hyperparameters, and the choices that all contenders have."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from steepest.errors import ConfigError, listed, shown
from steepest.search import LIMITS, Dimension, SearchSpace, restricted, sample, search_space
from steepest.studies.study import Contender, Row
from steepest.studies.trials import Point


@dataclass(frozen=True)
class Space:
    """The dimensions of one contender, in this order: the choices of the row, then those of its optimizer, lr first.

    So the leading coordinates of the common sequence mean the same to all contenders.
    """

    choices: tuple[Dimension, ...]
    own: SearchSpace

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """All of them."""
        return (*self.choices, *self.own.dimensions)

    def chosen(self, point: Point) -> dict[str, Any]:
        """The choices of the row at a point, as overrides."""
        return {one.key: one.value(u) for one, u in zip(self.choices, point, strict=False)}

    def tuned(self, point: Point) -> dict[str, Any]:
        """The hyperparameters at a point, as overrides, to three digits: what a run is given is what a reader sees."""
        found = sample(self.own, point[len(self.choices) :])
        return {f"optimizer.{key}": rounded(value) for key, value in found.items()}


def space_of(row: Row, contender: Contender) -> Space:
    """The space of a contender in a row.

    Raises:
        ConfigError: an optimizer without a space, or keys and ranges that it does not have.
    """
    where = f"rows.{row.name}.contenders.{contender.name}"
    own = search_space(optimizer_of(row, contender))
    keys = contender.keys if contender.keys is not None else row.search.keys
    for key in contender.ranges:
        if key not in {one.key for one in own.dimensions if not one.choices}:
            raise ConfigError(f"{where}.ranges: {shown(key)} is no range of the space search/{own.file}.yaml.")
    if keys != "all":
        try:
            own = restricted(own, list(keys))
        except ConfigError as error:
            raise ConfigError(f"{where}.keys: {error}") from None
    searched = {one.key for one in own.dimensions}
    if unused := [key for key in contender.ranges if key not in searched]:
        raise ConfigError(f"{where}.ranges: {unused[0]} is not searched; allowed are {listed(searched or ['none'])}.")
    for key in row.search.choices:
        if key.removeprefix("optimizer.").partition("[")[0] in {one.partition("[")[0] for one in searched}:
            raise ConfigError(f"{where}: {key} is a choice of the row and searched as well; allowed is one of both.")
    ranged = [_ranged(where, one, contender.ranges.get(one.key)) for one in own.dimensions]
    own = replace(own, dimensions=tuple(sorted(ranged, key=lambda one: one.key != "lr")))
    choices = tuple(Dimension(key, "the row", choices=tuple(some)) for key, some in row.search.choices.items())
    return Space(choices, own)


def _ranged(where: str, dimension: Dimension, bounds: tuple[float, float] | None) -> Dimension:
    """The dimension within a contender's own range, which is what the contender is: it never widens."""
    least, most = LIMITS[dimension.scale]
    if bounds and not least <= bounds[0] < bounds[1] <= most:
        raise ConfigError(
            f"{where}.ranges.{dimension.key}={shown(bounds)} is not possible on the scale {dimension.scale}; allowed "
            f"are numbers from {least:.3g} to {most:.3g}."
        )
    return replace(dimension, low=bounds[0], high=bounds[1], widen=False) if bounds else dimension


def optimizer_of(row: Row, contender: Contender) -> str:
    """The value of the group `optimizer` whose space a contender has."""
    if contender.optimizer:
        return contender.optimizer
    for word in reversed((*row.base, *contender.overrides)):
        key, _, value = word.partition("=")
        if key == "optimizer":
            return value
    raise ConfigError(f"rows.{row.name}.contenders.{contender.name} has no optimizer; allowed is optimizer: <name>.")


def rounded(value: Any) -> Any:
    """A number to three digits, of its distance to 1 where that is small: 0.9991; lists entry by entry."""
    if isinstance(value, list):
        return [rounded(one) for one in value]
    if not isinstance(value, float):
        return value
    if 0.9 < value < 1.0:
        return round(1.0 - float(f"{1.0 - value:.3g}"), 12)
    return float(f"{value:.3g}")


def words(setting: Mapping[str, Any]) -> list[str]:
    """A setting as overrides of a command line."""
    return [f"{key}={json.dumps(value) if not isinstance(value, str) else value}" for key, value in setting.items()]
