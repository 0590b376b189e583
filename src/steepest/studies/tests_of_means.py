"""Paired t tests on arrays whose last axis is the seeds: one-sided, corrected over rivals, for equivalence.

They are `scipy.stats.ttest_1samp` (held to it by the tests), but many at once, and decided where nothing varies: then a
t test divides by 0, and the exact sign test stands for it. With n equal differences beyond the threshold its p value is
1 / 2^n, so that no two or three seeds settle anything.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

STILL = 1e-9
"""A standard deviation below this share of the largest difference is rounding."""


def p_greater(differences: ArrayLike, threshold: ArrayLike = 0.0) -> Floats:
    """One-sided p values of "the mean of these differences is above the threshold".

    Args:
        differences: of pairs, shape (..., seeds).
        threshold: shape (...).

    Returns:
        Shape (...); 1 below two seeds.
    """
    values = np.asarray(differences, float)
    n = values.shape[-1]
    above = np.subtract(values.mean(axis=-1), threshold) if n else np.zeros(values.shape[:-1])
    if n < 2:
        return np.ones_like(above)
    deviation, still = deviations(values)
    above = np.where(np.abs(above) <= STILL * np.abs(values).max(axis=-1), np.where(still, 0.0, above), above)
    t = above * np.sqrt(n) / np.where(still, 1.0, deviation)
    return np.where(still, np.where(above > 0, 0.5**n, 1.0), special.stdtr(n - 1, -t))


def p_equivalent(differences: ArrayLike, below: ArrayLike, above: ArrayLike) -> Floats:
    """The p values of "the mean lies between -below and above": the greater of two one-sided tests.

    Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657.
    """
    values = np.asarray(differences, float)
    return np.maximum(p_greater(values, np.negative(below)), p_greater(-values, np.negative(above)))


def interval(differences: ArrayLike, level: float = 0.95) -> tuple[Floats, Floats]:
    """The two-sided t interval of the mean, shape (...) each; infinite below two values."""
    values = np.asarray(differences, float)
    n = values.shape[-1]
    if n < 2:
        endless = np.full(values.shape[:-1], np.inf)
        return -endless, endless
    half = special.stdtrit(n - 1, 0.5 + level / 2) * values.std(axis=-1, ddof=1) / np.sqrt(n)
    return values.mean(axis=-1) - half, values.mean(axis=-1) + half


def lower_bound(differences: ArrayLike, alpha: float) -> Floats:
    """The one-sided lower t bound of the mean, which the one-sided test at alpha goes with, shape (...)."""
    return interval(differences, 1.0 - 2.0 * alpha)[0]


def holm(p: ArrayLike) -> Floats:
    """The p values of several tests, corrected so that one false finding among them has a probability of alpha at most.

    Holm 1979, Scand. J. Statist. 6:65. Reject where the corrected value is below alpha.
    """
    values = np.asarray(p, float)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(stepped, 1.0)
    return corrected


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """How probable it is that a run of ours is better than one of theirs, a tie counting half; larger is better.

    Agarwal et al. 2021, arXiv:2108.13264, Section 4.3: the Mann-Whitney statistic over all pairs of runs, whatever
    their seeds. NaN without runs.
    """
    a, b = np.asarray(ours, float)[:, None], np.asarray(theirs, float)[None, :]
    return float(((a > b) + 0.5 * (a == b)).mean()) if a.size and b.size else float("nan")


def deviations(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Standard deviations along the last axis, and which of them are nothing but rounding."""
    deviation = values.std(axis=-1, ddof=1)
    return deviation, deviation <= STILL * np.abs(values).max(axis=-1)
