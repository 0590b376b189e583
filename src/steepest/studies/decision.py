"""The verdict on a claim, from the runs of its evaluation: decided by `settle`, said in one sentence."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from steepest.errors import ConfigError, listed, shown
from steepest.studies.scores import score_table
from steepest.studies.seeds_needed import seeds_needed
from steepest.studies.sentences import open_in_words, settled_in_words
from steepest.studies.settle import CONFIRMED, INCONCLUSIVE, ON_PAR, REFUTED, Settled, settle
from steepest.studies.summary import summary_table as summary_table
from steepest.studies.tests_of_means import Floats, interval, probability_of_improvement

COLUMNS = ["rival", "n", "difference", "low", "high", "p_better", "p_worse_holm", "p_equivalent"]


@dataclass(frozen=True)
class Decision:
    """What became of a claim."""

    kind: str
    """confirmed, refuted, on par or inconclusive."""
    reason: str
    """One sentence; of an inconclusive row, what is missing."""
    comparisons: pd.DataFrame
    """A row for each rival: rival, n (pairs of runs), difference (recommended minus rival, larger is better), low and
    high (its t interval at 1 - alpha), p_better, p_worse_holm, p_equivalent, probability_of_improvement, and undertuned
    (why, or empty)."""
    seeds_needed: int | None = None
    """Of an inconclusive row: how many seeds in all would settle it; None where none would."""
    seeds_settle: str | None = None
    """As what they would settle it."""


def decide(
    evaluations: pd.DataFrame,
    *,
    recommended: str,
    direction: str,
    worst: float,
    margin: float,
    undertuned: Mapping[str, str],
    gains: Mapping[str, float],
    obstacles: Sequence[str] = (),
    alpha: float = 0.05,
    contenders: Iterable[str] = (),
) -> Decision:
    """The verdict on "the recommended contender is better than every rival".

    Contenders are compared by pairs of runs of the same seed; a divergence counts as `worst`. What forces
    `inconclusive`: an obstacle, a run that is missing, no rival, fewer than two seeds, or no run that did not diverge.

    Args:
        evaluations: a row for each run with fresh seeds: contender, seed, value (the metric), status (finished,
            diverged, or anything else, which is a run that is missing).
        recommended: the contender that the claim is about.
        direction: max or min, of the metric.
        worst: the metric's value that a divergence counts as.
        margin: the difference of the metric below which it does not matter.
        undertuned: contenders whose best setting lies on an edge of what was tried, and why in words.
        gains: what finer tuning could give a contender, in the metric's unit, 0 or more; 0 where not named.
        obstacles: what else stands in the way of a verdict, in words.
        alpha: the greatest probability of a false verdict.
        contenders: all that should have runs, so that one that has none is missed.

    Raises:
        ConfigError: a direction, margin, alpha, `worst` or gain that is not possible, or a seed that came twice.
    """
    for name, value, most in (("margin", margin, math.inf), ("alpha", alpha, 0.5)):
        if not 0.0 <= value < most or (name == "alpha" and not value):
            raise ConfigError(f"{name}={shown(value)} is not possible; allowed is a number from 0 to {most:g}.")
    if bad := [rival for rival, gain in gains.items() if not gain >= 0.0]:
        raise ConfigError(f"gains={gains[bad[0]]} of {bad[0]} is not possible; allowed are numbers of 0 or more.")
    table = score_table(evaluations, direction, worst)
    table = table.reindex(dict.fromkeys([recommended, *table.index, *contenders]))
    paired = table.dropna(axis="columns")
    missing = list(obstacles) + missing_runs(table)
    if len(table) < 2:
        missing.append("there is no rival")
    elif len(paired.columns) < 2 and not missing:
        missing.append("one seed is too few")
    statuses = set(evaluations["status"])
    if lost := "diverged" in statuses and "finished" not in statuses:
        missing.append("every run diverged")

    rivals = [str(name) for name in table.index[1:]]
    ours, theirs = paired.loc[recommended].to_numpy(), paired.iloc[1:].to_numpy()
    differences = ours - theirs
    room = {rival: float(gains.get(rival, 0.0)) for rival in [recommended, *rivals]}
    found = settle(
        differences,
        margin=margin,
        gains=np.array([room[rival] for rival in rivals]),
        own_gain=room[recommended],
        undertuned=np.array([rival in undertuned for rival in rivals], bool),
        own_undertuned=recommended in undertuned,
        alpha=alpha,
    )
    why = {rival: undertuned[rival] for rival in rivals if rival in undertuned}
    for i in np.flatnonzero(found.short & (found.p_better < alpha)):
        why.setdefault(rivals[i], f"finer tuning could give it {room[rivals[i]]:.3g}")
    comparisons = compared(rivals, differences, found, alpha)
    comparisons["probability_of_improvement"] = [probability_of_improvement(ours, one) for one in theirs]
    comparisons["undertuned"] = [why.get(rival, "") for rival in rivals]
    if not missing and found.kind != INCONCLUSIVE:
        return Decision(found.kind, settled_in_words(found, recommended, comparisons, margin), comparisons)

    possible = set() if lost else {CONFIRMED, REFUTED, ON_PAR}
    possible -= {CONFIRMED, ON_PAR} if any(rival in undertuned for rival in rivals) else set()
    possible -= {REFUTED, ON_PAR} if recommended in undertuned else set()
    needed = seeds_needed(
        dict(zip(rivals, differences, strict=True)),
        margin,
        alpha,
        gains=room,
        own_gain=room[recommended],
        possible=possible,
    )
    if missing:
        reason = f"No verdict, since {'; '.join(missing)}."
    else:
        reason = open_in_words(found, recommended, comparisons, undertuned.get(recommended, ""), needed, alpha)
    return Decision(INCONCLUSIVE, reason, comparisons, *(needed or (None, None)))


def missing_runs(table: pd.DataFrame) -> list[str]:
    """The runs that a table of scores lacks, in words, one for each contender."""
    lacks = {}
    for contender, scores in table.iterrows():
        seeds = [str(seed) for seed in scores.index[scores.isna()]]
        if seeds or not len(table.columns):
            lacks[contender] = "any seed" if len(seeds) == len(table.columns) else f"seed {listed(seeds)}"
    return [f"{contender} has no result of {seeds}" for contender, seeds in lacks.items()]


def compared(rivals: list[str], differences: Floats, found: Settled, alpha: float) -> pd.DataFrame:
    """The comparison with each rival as a table."""
    low, high = interval(differences, 1.0 - alpha)
    n = differences.shape[1]
    means = differences.mean(axis=1) if n else np.full(len(rivals), np.nan)
    columns = [rivals, n, means, low, high, found.p_better, found.p_worse_holm, found.p_equivalent]
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), columns=COLUMNS)
