"""Step lengths by the strong Wolfe conditions."""

import warnings
from collections.abc import Callable

import numpy as np
from scipy.optimize import line_search

SUFFICIENT_DECREASE = 1e-4  # c1 of Nocedal and Wright 2006, page 62
SHORTEST = 1e-16


def strong_wolfe(
    phi: Callable[[float], tuple[float, float]], value: float, slope: float, c2: float, rounding: float = 1e-16
) -> float:
    """A step length u at which the value has fallen enough and the slope is flat enough; u = 1 is tried first.

        phi(u) <= phi(0) + c1 u phi'(0)   and   |phi'(u)| <= c2 |phi'(0)|

    Nocedal and Wright 2006, Numerical Optimization, Algorithms 3.5 and 3.6, as SciPy has them. Where these find no such
    u, it is the lowest point that they tried, or the first lower one on ever shorter steps; 0 where there is none.

    Args:
        phi: value and slope at u; asked once for each u. A value that is not finite must come as infinity.
        value: phi(0).
        slope: phi'(0), below 0.
        c2: the share of the slope that may be left, between c1 = 1e-4 and 1.
        rounding: relative error of the values; a decrease below it is not looked for.
    """
    tried: dict[float, tuple[float, float]] = {}

    def at(u: float) -> tuple[float, float]:
        if u not in tried:
            tried[u] = phi(u)
        return tried[u]

    with warnings.catch_warnings():
        # SciPy's LineSearchWarning, whose class is not public: that it found nothing is seen from what it returns.
        warnings.filterwarnings("ignore", "The line search algorithm|Rounding errors prevent", RuntimeWarning)
        found = line_search(
            lambda u: at(float(u[0]))[0],
            lambda u: np.array([at(float(u[0]))[1]]),
            np.zeros(1),
            np.ones(1),
            np.array([slope]),
            value,
            c1=SUFFICIENT_DECREASE,
            c2=c2,
        )[0]
    u = min(tried, key=lambda u: tried[u][0]) if found is None else float(found)
    while tried[u][0] >= value:
        u = min(tried) / 10
        if -slope * u <= rounding * abs(value) or u < SHORTEST:
            return 0.0
        at(u)
    return u
