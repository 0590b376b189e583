"""A stand-in until the studies have their curves of a search."""

import numpy as np
from scipy.stats import hypergeom


def best_of_k(values: np.ndarray) -> np.ndarray:
    """The expected largest of k of these values, drawn without replacement, for k = 1 ... n.

    Args:
        values: shape (n); larger is better.
    """
    ordered = np.sort(values)
    n = len(ordered)
    ranks, k = np.arange(n + 1), np.arange(1, n + 1)[:, None]
    below = np.array([[hypergeom.pmf(j, n, r, j) for r in ranks] for j in k[:, 0]])
    return np.diff(below, axis=1) @ ordered
