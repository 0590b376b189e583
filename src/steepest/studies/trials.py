"""Which settings a search tries: the first points, alike for all contenders, then a reserve that widens or refines.

A point is a share for each dimension of a contender's search space, as `steepest.search.sample` takes it: [0, 1) for
choices, [0, 1] for a range, and beyond where the search was widened. Nothing here knows values, or runs anything.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from scipy.stats import qmc

from steepest.errors import ConfigError, shown
from steepest.search import Dimension

Point = tuple[float, ...]

SEED = 0
"""Of the scrambled sequence: one for all contenders, rows and studies, so that nobody can draw a luckier one."""
DIMENSIONS = 32
"""Of the sequence. It is always drawn whole: a scrambled one of fewer dimensions has other leading coordinates."""
FAR = 4096
"""Points of the sequence that are looked at for one that was not tried."""
BORDER = 0.05
"""Share of the range that counts as its border, where points are quasi-random."""
STRIDE = 0.25
"""Share of a range by which quasi-random points widen it, and the width of the box they refine in."""
NEAREST, NEAR = 5, 15.0
"""Trials that say what finer tuning could give, and the deviations of a run within which further ones do."""
HALVINGS = 20
"""How often a step of the grid is halved at most."""
SAME = 1e-9
"""Shares nearer than this are the same."""


@dataclass(frozen=True)
class Tried:
    """A point and what came of it."""

    point: Point
    score: float
    """Larger is better; -inf, or any other that is not finite, of a run that diverged."""

    @property
    def value(self) -> float:
        """The score; -inf where it is not finite."""
        return self.score if math.isfinite(self.score) else -math.inf


def first_points(sampler: str, dimensions: Sequence[Dimension], count: int) -> list[Point]:
    """The points that a contender's search starts with.

    Args:
        sampler: `grid`: even on the dimension's scale, both ends included (one point is the middle). `sobol`: the
            scrambled sequence of Sobol, of which contenders with fewer dimensions get the leading coordinates.
        dimensions: of the contender's space.
        count: how many.

    Returns:
        Different points, `count` of them; fewer only where choices alone have no more.

    Raises:
        ConfigError: an unknown sampler, no points, or dimensions that the sampler does not have.
    """
    if count < 1:
        raise ConfigError(f"trials={count} is not possible; allowed are 1 or more.")
    if sampler == "grid":
        _check_grid(dimensions)
        return [(i / (count - 1),) for i in range(count)] if count > 1 else [(0.5,)]
    if sampler == "sobol":
        found: list[Point] = []
        for point in islice(_sequence(dimensions), FAR):
            if not _among(point, found):
                found.append(point)
            if len(found) == count:
                break
        return found
    raise ConfigError(f"sampler={shown(sampler)} is unknown; allowed are grid and sobol.")


def best(tried: Sequence[Tried]) -> Tried:
    """The trial with the best score.

    Of several that are equally good the one that lies farthest inside of what was tried, since an edge says less; of
    these the smallest point.
    """
    if not tried:
        raise ValueError("there are no trials to choose from")
    top = max(one.value for one in tried)
    equal = [one for one in tried if one.value == top]
    if len(equal) == 1:
        return equal[0]
    ranges = [(min(shares), max(shares)) for shares in zip(*(one.point for one in tried), strict=True)]

    def inside(point: Point) -> float:
        return sum(min(u - low, high - u) for u, (low, high) in zip(point, ranges, strict=True))

    return min(equal, key=lambda one: (-round(inside(one.point), 9), one.point))


def edges(tried: Sequence[Tried], dimensions: Sequence[Dimension], sampler: str) -> dict[str, str]:
    """The dimensions on whose edge the best trial lies: {"lr": "low"}, or "high".

    On a grid the edge is the outermost point tried; of quasi-random points, the outermost 5 % of what is now the range,
    which is [0, 1] and what was tried beyond. A range that must not widen has no edge, nor has the end where a range
    that starts at 0 or above can only go on below 0. Where all trials diverged, the best is nowhere: every range that
    can go lower counts as on its low edge.
    """
    found = best(tried)
    if found.value == -math.inf:
        lowest = [_range(tried, i, sampler)[0] for i in range(len(dimensions))]
        able = [d.numeric and d.widen and low > d.floor + SAME for d, low in zip(dimensions, lowest, strict=True)]
        return {d.key: "low" for d, is_able in zip(dimensions, able, strict=True) if is_able}
    sides: dict[str, str] = {}
    for i, dimension in enumerate(dimensions):
        if not dimension.numeric or not dimension.widen:
            continue
        u, (low, high) = found.point[i], _range(tried, i, sampler)
        near = SAME if sampler == "grid" else BORDER * (high - low)
        if u <= low + near and low > dimension.floor + SAME:
            sides[dimension.key] = "low"
        elif u >= high - near:
            sides[dimension.key] = "high"
    return sides


def reserve_point(
    tried: Sequence[Tried], dimensions: Sequence[Dimension], sampler: str, first_count: int
) -> Point | None:
    """Where the next trial of the reserve goes: beyond the edge that the best lies on, else nearer around the best.

    Where all diverged, the first range goes lower: steps that are too large are why training diverges, and the learning
    rate comes first.

    Args:
        tried: all trials of the contender so far, the first points among them.
        dimensions: of its space.
        sampler: the one that the first points came from.
        first_count: how many those were, which says how wide a step of the grid is.

    Returns:
        A point that was not tried; None where there is no more.
    """
    if sampler == "grid":
        _check_grid(dimensions)
        return _of_grid(tried, dimensions[0], 1.0 / (first_count - 1) if first_count > 1 else 0.5)
    return _of_sobol(tried, dimensions)


def gain_of_tuning(
    tried: Sequence[Tried], dimensions: Sequence[Dimension], sampler: str, near: float = math.inf
) -> float:
    """How much better than its best trial a contender may become if it is tuned more finely.

    Parabolas are fitted to the 3, 4, ... trials nearest to the best that did not diverge, and the highest of their
    tops within what was tried counts, above the same parabola at the best. Near the best a parabola fits any smooth
    curve but follows the noise; through more trials it averages that, but bends wrongly where the curve is skew or
    levels off. So the `NEAREST` trials take part, and others only with scores that are not far from the best:
    `steepest.studies.simulation` shows that this guards enough, and that all trials would let little be settled.

    Args:
        tried: all trials of a contender.
        dimensions: of its space.
        sampler: the one that the first points came from.
        near: how far below the best a score may be to take part; `NEAR` deviations of a run, where that is known.

    Returns:
        A difference of scores, 0 or more; 0 where it cannot be estimated: no grid, below three trials that did not
        diverge, or no parabola with a top.
    """
    finite = [one for one in tried if math.isfinite(one.score)]
    if sampler != "grid" or len(dimensions) != 1 or len(finite) < 3:
        return 0.0
    top, u = best(finite).score, best(finite).point[0]
    finite.sort(key=lambda one: (abs(one.point[0] - u), one.point[0]))
    finite = finite[:NEAREST] + [one for one in finite[NEAREST:] if one.score >= top - near]
    at = np.array([one.point[0] - u for one in finite])
    height = np.array([one.score for one in finite])
    low, high = (bound(one.point[0] for one in tried) - u for bound in (min, max))
    gain = 0.0
    for nearest in range(3, len(finite) + 1):
        terms = np.vander(at[:nearest], 3)
        bend, slope, _ = np.linalg.lstsq(terms, height[:nearest], rcond=None)[0]
        if bend < 0.0:
            peak = min(max(-slope / (2.0 * bend), low), high)
            gain = max(gain, float((bend * peak + slope) * peak))
    return gain


def _of_grid(tried: Sequence[Tried], dimension: Dimension, step: float) -> Point | None:
    """The next point of a grid: a step beyond the edge, else a half, a quarter ... of a step from the best."""
    found = best(tried)
    shares = [one.point[0] for one in tried]
    side = edges(tried, [dimension], "grid").get(dimension.key)
    if found.value == -math.inf and side:
        return (max(min(shares) - step, dimension.floor),)
    if side:
        u = found.point[0]
        return (max(u - step, dimension.floor),) if side == "low" else (u + step,)
    left, right = _neighbours(tried, found)
    to_right = right is not None and (left is None or right.value > left.value)
    signs = (1.0, -1.0) if to_right else (-1.0, 1.0)
    low, high = min(0.0, *shares), max(1.0, *shares)
    for _ in range(HALVINGS):
        step /= 2.0
        for sign in signs:
            u = found.point[0] + sign * step
            if low - SAME <= u <= high + SAME and not _among((u,), [one.point for one in tried]):
                return (u,)
    return None


def _of_sobol(tried: Sequence[Tried], dimensions: Sequence[Dimension]) -> Point | None:
    """The next quasi-random point: beyond the edges, else in a box around the best, whose choices it keeps."""
    found, points = best(tried), [one.point for one in tried]
    sides = edges(tried, dimensions, "sobol")
    if found.value == -math.inf and sides:
        first = next(iter(sides))
        i = next(i for i, dimension in enumerate(dimensions) if dimension.key == first)
        found, sides = min(tried, key=lambda one: (one.point[i], one.point)), {first: "low"}
    if sides:
        point = list(found.point)
        for i, dimension in enumerate(dimensions):
            low, high = _range(tried, i, "sobol")
            if side := sides.get(dimension.key):
                point[i] = max(low - STRIDE, dimension.floor) if side == "low" else high + STRIDE
        return tuple(point)
    numeric = any(dimension.numeric for dimension in dimensions)
    for drawn in islice(_sequence(dimensions), len(tried), FAR):
        point = list(drawn)
        for i, dimension in enumerate(dimensions):
            if dimension.numeric:
                low, high = _range(tried, i, "sobol")
                corner = min(max(found.point[i] - STRIDE / 2, low), high - STRIDE)
                point[i] = corner + STRIDE * drawn[i]
            elif numeric:
                point[i] = found.point[i]
        if not _among(tuple(point), points):
            return tuple(point)
    return None


def _sequence(dimensions: Sequence[Dimension]) -> Iterator[Point]:
    """The sequence, in the leading coordinates; the share of a choice is the middle of its part, so equal is equal."""
    if len(dimensions) > DIMENSIONS:
        raise ConfigError(f"sampler=sobol has no {len(dimensions)} dimensions; allowed are up to {DIMENSIONS}.")
    engine = qmc.Sobol(DIMENSIONS, scramble=True, seed=SEED)
    while True:
        for row in engine.random(8).tolist():  # powers of two, as the sequence asks for
            yield tuple(
                (int(u * len(d.choices)) + 0.5) / len(d.choices) if d.choices else u
                for u, d in zip(row, dimensions, strict=False)
            )


def _range(tried: Sequence[Tried], i: int, sampler: str) -> tuple[float, float]:
    """What is now the range of a dimension: of a grid what was tried, else [0, 1] and what was tried beyond."""
    shares = [one.point[i] for one in tried]
    return (min(shares), max(shares)) if sampler == "grid" else (min(0.0, *shares), max(1.0, *shares))


def _neighbours(tried: Sequence[Tried], found: Tried) -> tuple[Tried | None, Tried | None]:
    """The trials next to one on a line."""
    u = found.point[0]
    left = [one for one in tried if one.point[0] < u - SAME]
    right = [one for one in tried if one.point[0] > u + SAME]
    by_share = lambda one: one.point[0]  # noqa: E731
    return max(left, key=by_share, default=None), min(right, key=by_share, default=None)


def _among(point: Point, points: Sequence[Point]) -> bool:
    return any(all(abs(u - v) <= SAME for u, v in zip(point, one, strict=True)) for one in points)


def _check_grid(dimensions: Sequence[Dimension]) -> None:
    if len(dimensions) != 1 or not dimensions[0].numeric:
        keys = ", ".join(d.key for d in dimensions) or "no dimension"
        raise ConfigError(
            f"sampler=grid is not possible with {keys}; allowed is one range (keys=[lr]), or sampler=sobol."
        )
