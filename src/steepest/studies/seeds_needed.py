"""How many seeds would settle an open row."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from steepest.studies.settle import CONFIRMED, ON_PAR, REFUTED
from steepest.studies.tests_of_means import Floats, deviations

MOST = 1000


class SeedsNeeded(NamedTuple):
    """So many seeds would settle a row, and how."""

    seeds: int
    kind: str


def seeds_needed(
    differences: Mapping[str, Sequence[float]],
    margin: float,
    alpha: float = 0.05,
    power: float = 0.8,
    *,
    gains: Mapping[str, float] | None = None,
    own_gain: float = 0.0,
    possible: Collection[str] = (CONFIRMED, REFUTED, ON_PAR),
) -> SeedsNeeded | None:
    """The fewest seeds at which a row is settled with the given power, if means and deviations stay as they were seen.

    The power of each t test is that of the noncentral t distribution. All rivals must be beaten: their powers are
    multiplied, as if the tests were independent, which is a little cautious. One must refute: the most powerful at the
    first step of Holm's correction. Equivalence fails when one of its two tests does.

    Args:
        differences: recommended minus rival by seed, larger is better, of each rival; two seeds or more.
        margin: below which a difference does not matter.
        alpha: of the tests.
        power: the probability of the verdict.
        gains: what finer tuning could give a rival; none where not named.
        own_gain: what it could give the recommended one.
        possible: the verdicts that may come, such as no `confirmed` over an undertuned rival.

    Returns:
        The number of seeds in all, those seen included, and the verdict; None where up to 1,000 do not settle it.
    """
    if not differences or min(map(len, differences.values())) < 2:
        return None
    seen = [np.asarray(values, float) for values in differences.values()]
    spreads = [deviations(values) for values in seen]
    mean, spread = np.array([values.mean() for values in seen]), np.array([0.0 if s else float(d) for d, s in spreads])
    gain = np.array([(gains or {}).get(rival, 0.0) for rival in differences])
    n = np.arange(2.0, MOST + 1)
    beats = power_greater(mean, spread, gain, n, alpha).prod(axis=0)
    loses = power_greater(-mean, spread, np.full(len(mean), margin + own_gain), n, alpha / len(mean)).max(axis=0)
    best = [int(mean.argmin())]
    above = power_greater(mean[best], spread[best], gain[best] - margin, n, alpha)[0]
    below = power_greater(-mean[best], spread[best], np.array([own_gain - margin]), n, alpha)[0]
    chances = {CONFIRMED: beats, REFUTED: loses, ON_PAR: np.maximum(above + below - 1.0, 0.0)}
    found = [
        SeedsNeeded(int(n[(p >= power).argmax()]), k) for k, p in chances.items() if k in possible and max(p) >= power
    ]
    return min(found, key=lambda one: one.seeds, default=None)


def power_greater(mean: Floats, spread: Floats, threshold: Floats, n: Floats, alpha: float) -> Floats:
    """The power of `p_greater` where these are the true means and standard deviations, shape (rivals, len(n))."""
    above, sure = (mean - threshold)[:, None], 0.5**n < alpha
    still = spread[:, None] == 0.0
    away = above * np.sqrt(n) / np.where(still, 1.0, spread[:, None])
    bound = special.stdtrit(n - 1, 1.0 - alpha)
    missed = special.nctdtr(n - 1, np.clip(away, -30.0, 30.0), bound)
    # Where it has no digits left it is NaN: the power is 0 far below the threshold, and 1 far above.
    missed = np.where(np.isnan(missed), away < 0.0, missed)
    return np.where(still, (above > 0) & sure, 1.0 - missed)
