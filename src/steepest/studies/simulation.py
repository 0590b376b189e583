"""How often the protocol errs: search and evaluation, simulated with the code that studies use.

`python -m steepest.studies.simulation` prints the table. Every contender has a response to its learning rate whose
optimum lies anywhere in its space; runs are noisy (a part is common to the runs of a seed, as in paired runs). The
contenders are tuned by `trials`, evaluated with fresh seeds, and judged by `settle`. Scores are in standard deviations
of a run's own noise.

A verdict is false in one of two senses: against the true means at the settings found, which is what a claim says, or
against what the contenders reach at their best possible settings, which is what a sceptic wants to know.

False in the first sense was 1.0 % of 1,000 rows a case at most (in `FIELDS`: neither confirmed nor refuted is true).
In the second sense it was 4.6 % at most where responses are parabolas or level off, 6.5 % where they end at a cliff,
5.5 % where they are skew and 10.9 % where they are skew and very sharp, 7.2 % where flat optima may lie beyond the
space, and up to 60 % where the response has a kink that is sharp for the grid: nothing in the trials tells of that.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from steepest.search import Dimension
from steepest.studies.settle import CONFIRMED, ON_PAR, REFUTED, settle
from steepest.studies.tests_of_means import Floats
from steepest.studies.trials import NEAR, Tried, best, edges, first_points, gain_of_tuning, reserve_point

GRID = "grid"
TRIALS, RESERVE, SEEDS = 5, 2, 8
STEP = 1.0 / (TRIALS - 1)
LR = [Dimension("lr", "simulation", low=1e-4, high=1e-1, scale="log")]
COMMON, ALPHA, MARGIN = 1.0, 0.05, 1.0
"""Deviation of what the runs of a seed have in common; the level of the tests; the margin."""
FLOOR = 30.0
"""What a contender that levels off loses at most."""

SHAPES: dict[str, Callable[[float, float], float]] = {
    "parabola": lambda z, depth: -depth * z * z,
    "levels off": lambda z, depth: FLOOR * math.expm1(-depth * z * z / FLOOR),
    "skew": lambda z, depth: -depth * z * z * (4.0 if z > 0 else 1.0),
    "cliff": lambda z, depth: -depth * z * z if z < 0.6 else -math.inf,
    "kink": lambda z, depth: -depth * abs(z),
}
"""The response at z steps of the grid above the optimum; depth is the loss at one step. A cliff is divergence."""

FAR = -100.0
FIELDS: dict[str, tuple[float, ...]] = {
    "2, equal": (0.0, 0.0),
    "7, equal": (0.0,) * 7,
    "7, one equal, the rest far worse": (0.0, 0.0, *[FAR] * 5),
    "2, slightly worse": (-MARGIN / 2, 0.0),
    "7, slightly worse": (-MARGIN / 2, *[0.0] * 6),
    "2, worse by the margin": (-MARGIN, 0.0),
    "7, worse by the margin": (-MARGIN, *[0.0] * 6),
}
"""What the contenders reach at their optima, the recommended one first: where neither verdict is true."""
TRUE: dict[str, tuple[float, ...]] = {
    "2, better by 2": (2.0, 0.0),
    "2, better by 4": (4.0, 0.0),
    "7, better by 4": (4.0, *[0.0] * 6),
    "2, worse by 3": (-3.0, 0.0),
    "2, worse by 5": (-5.0, 0.0),
}
"""Where one of them is."""
WIDE = 3.0
"""A margin that 8 seeds can show equality within."""
DEPTHS = {"flat": 0.5, "medium": 4.0, "sharp": 16.0, "very sharp": 50.0}


@dataclass(frozen=True)
class Case:
    """Contenders and how they respond."""

    optima: tuple[float, ...]
    """Scores at the best possible settings, the recommended contender first."""
    shape: str = "parabola"
    depth: float = 4.0
    margin: float = MARGIN
    within: tuple[float, float] = (0.0, 1.0)
    """The shares of the space that optima lie between: beyond 0 and 1, the space was chosen badly."""
    guarded: bool = True
    """Whether edges and what finer tuning could gain count, as they do in a study; without, one sees what for."""


@dataclass(frozen=True)
class Outcome:
    """One simulated row."""

    kind: str
    found: Floats
    """True means at the settings found, the recommended contender first."""


def row(case: Case, draw: np.random.Generator) -> Outcome:
    """Simulate the search and the evaluation of one row."""
    count = len(case.optima)
    response, common = SHAPES[case.shape], COMMON * draw.normal()
    found, gains, on_edge, searches = np.empty(count), np.zeros(count), np.zeros(count, bool), []
    for i, optimum in enumerate(draw.uniform(*case.within, size=count)):

        def mean(u: float, at: float = optimum, top: float = case.optima[i]) -> float:
            return top + response((u - at) / STEP, case.depth)

        tried = search(mean, common, draw)
        searches.append(tried)
        found[i] = mean(best(tried).point[0])
        on_edge[i] = case.guarded and bool(edges(tried, LR, GRID))
    runs = found[:, None] + COMMON * draw.normal(size=SEEDS) + draw.normal(size=(count, SEEDS))
    if case.guarded:
        near = NEAR * runs.std(axis=1, ddof=1)
        gains = np.array([gain_of_tuning(one, LR, GRID, far) for one, far in zip(searches, near, strict=True)])
    kind = verdict(runs[0] - runs[1:], gains, on_edge, case.margin)
    return Outcome(kind, found)


def search(mean: Callable[[float], float], common: float, draw: np.random.Generator) -> list[Tried]:
    """A contender's trials, one noisy run each: the first points, then the reserve."""
    tried = [Tried(point, mean(point[0]) + common + draw.normal()) for point in first_points(GRID, LR, TRIALS)]
    for _ in range(RESERVE):
        if further := reserve_point(tried, LR, GRID, TRIALS):
            tried.append(Tried(further, mean(further[0]) + common + draw.normal()))
    return tried


def verdict(differences: Floats, gains: Floats, on_edge: NDArray[np.bool_], margin: float = MARGIN) -> str:
    """The verdict on paired differences, as `decide` has it."""
    return settle(
        differences,
        margin=margin,
        gains=gains[1:],
        own_gain=float(gains[0]),
        undertuned=on_edge[1:],
        own_undertuned=bool(on_edge[0]),
        alpha=ALPHA,
    ).kind


def rates(case: Case, repeats: int, seed: int = 0) -> dict[str, float]:
    """How often each verdict came, and how often falsely, as shares of `repeats` rows.

    Returns:
        confirmed, refuted, on par; and `false confirmed`, `false refuted`, `false on par` at the settings found and,
        with ` at best`, at the best possible settings. On par is false where some rival is better by the margin or
        more, or the recommended one is better than every rival by as much.
    """
    draw, outcomes = np.random.default_rng(seed), []
    for _ in range(repeats):
        outcome = row(case, draw)
        counted = {kind: outcome.kind == kind for kind in (CONFIRMED, REFUTED, ON_PAR)}
        for where, means in (("", outcome.found), (" at best", np.array(case.optima))):
            lead = float(means[0] - means[1:].max())
            wrong = {CONFIRMED: lead <= 0.0, REFUTED: lead >= -case.margin, ON_PAR: abs(lead) >= case.margin}
            counted |= {f"false {kind}{where}": counted[kind] and wrong[kind] for kind in wrong}
        outcomes.append(counted)
    return {name: float(np.mean([one[name] for one in outcomes])) for name in outcomes[0]}


def settled(
    mean: Sequence[float], spread: Sequence[float], seeds: int, repeats: int, margin: float
) -> dict[str, float]:
    """How often each verdict comes with so many seeds, where these are the true differences: is `seeds_needed` right?

    Args:
        mean: of the paired differences with each rival, recommended minus rival.
        spread: their standard deviations; the rivals are independent.
        seeds: of each row.
        repeats: rows simulated.
        margin: below which a difference does not matter.
    """
    draw, kinds = np.random.default_rng(0), []
    none = np.zeros(len(mean) + 1)
    for _ in range(repeats):
        noise = draw.normal(size=(len(mean), seeds))
        kinds.append(verdict(np.array(mean)[:, None] + np.array(spread)[:, None] * noise, none, none > 0, margin))
    return {kind: kinds.count(kind) / repeats for kind in (CONFIRMED, REFUTED, ON_PAR)}


def cases(shapes: Sequence[str]) -> Iterator[tuple[dict[str, str], Case]]:
    """All that the table shows, each with its name."""
    for shape in shapes:
        for sharpness, depth in DEPTHS.items():
            for field, optima in (FIELDS | TRUE).items():
                yield {"shape": shape, "optimum": sharpness, "contenders": field}, Case(optima, shape, depth)
            wide = f"2, equal, margin of {WIDE:g}"
            yield {"shape": shape, "optimum": sharpness, "contenders": wide}, Case((0.0, 0.0), shape, depth, WIDE)


def table(repeats: int, shapes: Sequence[str] = tuple(SHAPES), seed: int = 0) -> pd.DataFrame:
    """The rates of all cases, in percent."""
    return pd.DataFrame(
        [
            name | {key: round(100 * rate, 1) for key, rate in rates(case, repeats, seed).items()}
            for name, case in cases(shapes)
        ]
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="rows simulated in each case")
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES], default=[*SHAPES], help="responses to simulate")
    given = parser.parse_args()
    print(table(given.repeats, given.shapes).to_string(index=False))


if __name__ == "__main__":
    main()
