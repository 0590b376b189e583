"""Logistic regression on fixed data, as a function of its weights."""

from typing import Any

import numpy as np
import scipy.optimize
import torch
import torch.nn.functional as F
from sklearn.datasets import load_breast_cancer
from torch import Tensor

from steepest.datasets.data import require
from steepest.objectives.objective import Objective


class LogisticRegression(Objective):
    """L2-regularised logistic regression on 569 cases of breast cancer (Wolberg et al. 1995, a part of scikit-learn).

        f(x) = 1/n sum_i log(1 + exp(-y_i a_i . x)) + l2/2 |x|^2,   y_i = +-1

    The a_i are the 30 measures, standardised, and a 1 for the intercept: d = 31. Strongly convex; the Hessian's
    eigenvalues lie between mu = l2 and L = l2 + (largest eigenvalue of A^T A) / (4 n). Both are bounds: the Hessian
    comes near to L where the predictions are 1/2, as at the start x = 0. The minimum is found by scipy's trust-region
    Newton method, up to a gradient of 1e-12.

    Args:
        l2: of the penalty.
        shared: of `Objective`.
    """

    def __init__(self, l2: float, **shared: Any) -> None:
        super().__init__(**shared)
        require(0 < l2 < np.inf, "l2", l2, "numbers above 0")
        self.l2 = l2
        data = load_breast_cancer()
        measures = (data.data - data.data.mean(0)) / data.data.std(0)
        cases = np.column_stack([measures, np.ones(len(measures))])
        # y_i a_i
        self.signed = torch.from_numpy(cases * np.where(data.target == 1, 1.0, -1.0)[:, None])
        self.start = torch.zeros(cases.shape[1], dtype=torch.float64)
        self.mu, self.L = l2, l2 + float(np.linalg.norm(cases, 2)) ** 2 / (4 * len(cases))
        self.minimizers, self.minimum = self._solved()

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., 31], [...]."""
        return F.softplus(-(x @ self.signed.to(x).T)).mean(-1) + self.l2 / 2 * x.square().sum(-1)

    def _solved(self) -> tuple[Tensor, float]:
        a = self.signed.numpy()

        def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
            margins = a @ x
            value = np.logaddexp(0, -margins).mean() + self.l2 / 2 * x @ x
            return value, -a.T @ expit(-margins) / len(a) + self.l2 * x

        def hessian(x: np.ndarray) -> np.ndarray:
            chance = expit(a @ x)
            return (a.T * (chance * (1 - chance))) @ a / len(a) + self.l2 * np.eye(len(x))

        expit = scipy.special.expit
        start = np.zeros(a.shape[1])
        found = scipy.optimize.minimize(
            value_and_gradient, start, method="trust-exact", jac=True, hess=hessian, options={"gtol": 1e-12}
        )
        return torch.from_numpy(found.x).unsqueeze(0), float(found.fun)
