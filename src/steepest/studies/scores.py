"""The results of a row's evaluation as scores: larger is better, divergences counted, failures missing."""

import math

import numpy as np
import pandas as pd

from steepest.errors import ConfigError, shown

SIGNS = {"max": 1.0, "min": -1.0}


def sign_of(direction: str) -> float:
    """What a metric is multiplied with so that larger is better."""
    if direction not in SIGNS:
        raise ConfigError(f"direction={shown(direction)} is unknown; allowed are max and min.")
    return SIGNS[direction]


def score_table(evaluations: pd.DataFrame, direction: str, worst: float) -> pd.DataFrame:
    """The score of each contender at each seed.

    A run that diverged, or whose metric is infinite, has the score of `worst`; so has one that ended even worse, since
    to diverge must not pay. A run that failed, or has no number, is missing: its score is NaN.

    Args:
        evaluations: columns contender, seed, value (the metric, in its own direction), status.
        direction: max or min, of the metric.
        worst: the metric's value that a divergence counts as.

    Returns:
        A row for each contender in the order of their first appearance, a column for each seed, in order.

    Raises:
        ConfigError: an unknown direction, a `worst` that is no number, or two results of one contender and seed.
    """
    sign = sign_of(direction)
    if not math.isfinite(worst):
        raise ConfigError(f"worst={worst} is not possible; allowed is a finite number.")
    runs = evaluations[["contender", "seed", "value", "status"]].drop_duplicates()
    twice = runs[runs.duplicated(["contender", "seed"])]
    if len(twice):
        contender, seed = twice.iloc[0][["contender", "seed"]]
        raise ConfigError(f"contender={contender} seed={seed} has several results; allowed is one of each seed.")
    values = pd.to_numeric(runs["value"], errors="coerce").astype(float).to_numpy()
    lost = (runs["status"] == "diverged").to_numpy() | np.isinf(values)
    scores = np.maximum(sign * np.where(lost, worst, values), sign * worst)
    scores[~runs["status"].isin(["finished", "diverged"]).to_numpy()] = np.nan
    table = runs.assign(score=scores).pivot(index="contender", columns="seed", values="score")
    return table.reindex(runs["contender"].unique())
