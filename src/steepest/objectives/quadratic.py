"""A quadratic with chosen curvatures."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from steepest.datasets.data import is_count, require
from steepest.objectives.objective import Objective, check_dimension


class Quadratic(Objective):
    """f(x) = (x - x*)^T A (x - x*) / 2, strongly convex. Nesterov 2018, Lectures on Convex Optimization, chapter 2.1.

    A = Q diag(l_1 ... l_d) Q^T; the l_i go from mu = L / condition to L in equal ratios, Q is the identity or a
    random rotation, x* is (1, ..., 1). The start is x* + Q (1, ..., 1), as far off along every eigenvector.

    Args:
        dimension: d.
        condition: L / mu.
        lipschitz: L.
        rotation_seed: of Q; null: the identity, so that the variables are independent.
        shared: of `Objective`.
    """

    matrix: Tensor

    def __init__(
        self, dimension: int, condition: float, lipschitz: float, rotation_seed: int | None, **shared: Any
    ) -> None:
        super().__init__(**shared)
        check_dimension(dimension)
        require(1 <= condition < np.inf, "condition", condition, "numbers from 1")
        require(0 < lipschitz < np.inf, "lipschitz", lipschitz, "numbers above 0")
        seeded = rotation_seed is None or is_count(rotation_seed, 0)
        require(seeded, "rotation_seed", rotation_seed, "null and whole numbers from 0")
        eigenvalues = np.geomspace(lipschitz / condition, lipschitz, dimension)
        q = np.eye(dimension)
        if rotation_seed is not None:
            q, r = np.linalg.qr(np.random.default_rng([rotation_seed]).standard_normal((dimension, dimension)))
            q *= np.sign(np.diag(r))  # uniform over all rotations: Mezzadri 2007, Notices of the AMS 54
        self.matrix = torch.from_numpy(q * eigenvalues @ q.T)
        self.L, self.mu, self.minimum = float(eigenvalues[-1]), float(eigenvalues[0]), 0.0
        self.minimizers = torch.ones(1, dimension, dtype=torch.float64)
        self.start = self.minimizers[0] + torch.from_numpy(q.sum(1))

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]."""
        away = x - self.minimizers[0].to(x)
        return ((away @ self.matrix.to(x)) * away).sum(-1) / 2
