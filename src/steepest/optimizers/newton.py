"""Newton's method."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steepest.optimizers.closure_rule import ClosureRule, counts
from steepest.optimizers.linear_solver import conjugate_gradients
from steepest.optimizers.objective import Objective
from steepest.optimizers.rule import Hyperparameters, State, at_least


class Newton(ClosureRule):
    """Newton's method, damped, with its way out of saddle points. Dauphin et al. 2014, arXiv:1406.2572, Algorithm 1.

        x_t = x_{t-1} - a_t sum_i v_i (v_i . g_t) / (|l_i| + damping),   a_t by the strong Wolfe conditions, lr first

    with the eigenvalues l_i and eigenvectors v_i of the Hessian, which is formed as a whole up to `max_exact`
    parameters: n Hessian-vector products, [n, n] numbers and an eigendecomposition in each step. Where all l_i > 0 it
    is (H + damping)^-1 g_t. A direction in which both l_i and damping are 0 is left out.

    Beyond that it is Newton-CG, Nocedal and Wright 2006, Algorithm 7.1, by Hessian-vector products alone:

        (H + damping) d = -g_t   until |(H + damping) d + g_t| <= min(cg_tolerance, sqrt(|g_t|)) |g_t|

    or `cg_iterations` products are used, or a direction of negative curvature is met.
    """

    needs_graph = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        damping: float = 1e-3,
        max_exact: int = 1000,
        cg_iterations: int = 50,
        cg_tolerance: float = 0.1,
        line_search: str = "strong_wolfe",
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        at_least(0.0, damping=damping, cg_tolerance=cg_tolerance)
        counts(0, max_exact=max_exact)
        counts(1, cg_iterations=cg_iterations)
        defaults = {
            "lr": lr,
            "damping": damping,
            "max_exact": max_exact,
            "cg_iterations": cg_iterations,
            "cg_tolerance": cg_tolerance,
            "line_search": line_search,
        }
        super().__init__(params, defaults, weight_decay, maximize)

    def advance(self, f: Objective, state: State, h: Hyperparameters) -> None:
        """One step of the formula; it keeps no state."""
        g, damping = f.gradient, h["damping"]
        if len(g) <= h["max_exact"]:
            d = -saddle_free(f.matrix(), g, damping)
        else:
            tolerance = min(h["cg_tolerance"], float(g.norm()) ** 0.5)
            d = conjugate_gradients(lambda v: f.product(v) + damping * v, -g, h["cg_iterations"], tolerance)
        f.move(d, h["lr"], h["line_search"])


def saddle_free(H: Tensor, g: Tensor, damping: float) -> Tensor:
    """(|H| + damping)^-1 g, with the absolute values of the eigenvalues; g where H is not finite."""
    if not H.isfinite().all():
        return g
    values, V = torch.linalg.eigh(H)
    size = values.abs() + damping
    known = size > torch.finfo(H.dtype).eps * len(g) * size.max()
    return V @ torch.where(known, (V.T @ g) / size, 0.0)
