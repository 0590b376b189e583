"""The natural gradient."""

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor

from steepest.errors import ConfigError
from steepest.optimizers.closure_rule import ClosureRule, counts
from steepest.optimizers.linear_solver import conjugate_gradients
from steepest.optimizers.objective import Objective
from steepest.optimizers.rule import Hyperparameters, State, at_least


class NaturalGradient(ClosureRule):
    """Natural gradient: steepest descent where distance is what the predictions change. Amari 1998.

        (F_t + damping) d_t = -g_t,   F_t the Fisher matrix at x_{t-1}
        x_t = x_{t-1} + lr min(1, sqrt(kl_clip / D)) d_t,   D = lr^2 d_t . F_t d_t / 2

    The closure returns the loss and a divergence, both with their graph: the mean Kullback-Leibler divergence from the
    model's own prediction, held fixed, to its prediction (`kl_divergence` has it for classification). It is 0 with a
    gradient of 0, and F_t is its Hessian; so F_t d is a derivative of a derivative, and the equation is solved by
    conjugate gradients, until the rest is `cg_tolerance` of |g_t| or `cg_iterations` products are used: Pascanu and
    Bengio 2013, arXiv:1301.3584; Martens 2020, arXiv:1412.1193. This is the Fisher matrix of the model's predictions,
    not the "empirical" one of its labels.

    D is the divergence that the step is expected to cause; `kl_clip` is the most that it may be, null for no bound.
    With `line_search` strong_wolfe that step is the first one tried, and the loss decides. The L2 penalty adds its
    curvature w to F_t, and so to D, as a Gaussian prior does.
    """

    needs_graph = True
    needs_divergence = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        damping: float = 1e-3,
        cg_iterations: int = 20,
        cg_tolerance: float = 0.01,
        kl_clip: float | None = 0.01,
        line_search: str = "none",
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        at_least(0.0, damping=damping, cg_tolerance=cg_tolerance)
        counts(1, cg_iterations=cg_iterations)
        if kl_clip is not None and not 0 < kl_clip < math.inf:
            raise ConfigError(f"optimizer.kl_clip={kl_clip} is not possible; allowed is null or a number above 0.")
        defaults = {
            "lr": lr,
            "damping": damping,
            "cg_iterations": cg_iterations,
            "cg_tolerance": cg_tolerance,
            "kl_clip": kl_clip,
            "line_search": line_search,
        }
        super().__init__(params, defaults, weight_decay, maximize)

    def advance(self, f: Objective, state: State, h: Hyperparameters) -> None:
        """One step of the formula; it keeps no state."""
        g, lr, damping, kl_clip = f.gradient, h["lr"], h["damping"], h["kl_clip"]
        d = conjugate_gradients(lambda v: f.product(v) + damping * v, -g, h["cg_iterations"], h["cg_tolerance"])
        if kl_clip is not None:
            D = lr**2 * float(d @ f.product(d)) / 2
            lr *= min(1.0, (kl_clip / D) ** 0.5) if D > 0 else 1.0
        f.move(d, lr, h["line_search"])


def kl_divergence(logits: Tensor) -> Tensor:
    """The mean Kullback-Leibler divergence from softmax(logits), held fixed, to softmax(logits): 0, but for its graph.

    Its Hessian in the parameters behind the logits is their Fisher matrix.

    Args:
        logits: [..., classes]; the mean is over all but the last dimension.
    """
    log_q = logits.log_softmax(-1)
    log_p = log_q.detach()
    return (log_p.exp() * (log_p - log_q)).sum(-1).mean()
