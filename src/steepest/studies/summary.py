"""What a contender's runs come to: means with intervals, interquartile means, the best of k trials."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import special, stats

from steepest.studies.scores import score_table, sign_of
from steepest.studies.tests_of_means import Floats, interval

T_BELOW = 20
"""Seeds below which the interval of a mean is a t interval; a percentile bootstrap covers 84 % for 95 % at 5 seeds."""
IQM_FROM = 10
"""Seeds from which on there is an interquartile mean."""
RESAMPLES = 9999
COLUMNS = ["mean", "low", "high", "n", "diverged", "iqm", "iqm_low", "iqm_high"]


def summary_table(evaluations: pd.DataFrame, *, direction: str, worst: float, level: float = 0.95) -> pd.DataFrame:
    """What each contender came to, in the metric's own unit.

    The mean has a t interval below 20 seeds, and that of a percentile bootstrap from there on. From 10 seeds on there
    is the interquartile mean (Agarwal et al. 2021, arXiv:2108.13264) with that of a percentile bootstrap.

    Args:
        evaluations: a row for each run: contender, seed, value, status, as for `decide`.
        direction: max or min, of the metric.
        worst: the metric's value that a divergence counts as.
        level: of the intervals.

    Returns:
        Index contender, in the order of their first appearance; columns mean, low, high, n (runs that count), diverged
        (how many of them), iqm, iqm_low, iqm_high. What there is not is NaN; the interval of one run is infinite.
    """
    sign = sign_of(direction)
    scores = score_table(evaluations, direction, worst)
    lost = evaluations[evaluations["status"] == "diverged"].drop_duplicates(["contender", "seed"])["contender"]
    rows = []
    for contender, row in scores.iterrows():
        values = sign * row.dropna().to_numpy()
        count = int((lost == contender).sum())
        rows.append([*mean_and_interval(values, level), len(values), count, *interquartile_mean(values, level)])
    return pd.DataFrame(rows, columns=COLUMNS, index=scores.index)


def mean_and_interval(values: Floats, level: float) -> tuple[float, float, float]:
    """The mean and its interval; NaN without values."""
    if not len(values):
        return math.nan, math.nan, math.nan
    if len(values) < T_BELOW:
        low, high = interval(values, level)
        return float(values.mean()), float(low), float(high)
    return (float(values.mean()), *bootstrap(values, np.mean, level))


def interquartile_mean(values: Floats, level: float) -> tuple[float, float, float]:
    """The mean of the middle half and its interval; NaN below 10 values."""
    if len(values) < IQM_FROM:
        return math.nan, math.nan, math.nan

    def middle(sample: Floats, axis: int = -1) -> Floats:
        return stats.trim_mean(sample, 0.25, axis=axis)

    return (float(middle(values)), *bootstrap(values, middle, level))


def bootstrap(values: Floats, statistic: Callable[..., Floats], level: float) -> tuple[float, float]:
    """A percentile bootstrap, the same at every call."""
    found = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def best_of_k(scores: Sequence[float]) -> Floats:
    """The expected best score after k of n trials, drawn without replacement, for k from 1 to n.

    The i-th smallest is the best of k with probability C(i - 1, k - 1) / C(n, k). Dodge et al. 2019, arXiv:1909.03004,
    have it with replacement; Tang et al. 2020, arXiv:2004.13705, explain why not to.

    Args:
        scores: of trials, larger is better; one that is not finite, as of a run that diverged, is the worst, -inf.

    Returns:
        Shape (n,); -inf as long as all k trials may have diverged.
    """
    values = np.asarray(scores, float)
    values = np.sort(np.where(np.isfinite(values), values, -np.inf))
    n = len(values)
    rank, k = np.arange(1, n + 1)[None, :], np.arange(1, n + 1)[:, None]
    chance = special.binom(rank - 1, k - 1) / special.binom(n, k)
    chance = np.where(rank < k, 0.0, chance)
    weighted = np.zeros_like(chance)
    np.multiply(chance, values[None, :], out=weighted, where=chance > 0)
    return weighted.sum(axis=1)
