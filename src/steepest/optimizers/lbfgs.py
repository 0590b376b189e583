"""L-BFGS."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steepest.optimizers.closure_rule import ClosureRule, counts
from steepest.optimizers.objective import Objective
from steepest.optimizers.rule import Hyperparameters, State


class LBFGS(ClosureRule):
    """L-BFGS: the inverse Hessian from the last m = `history` steps. Liu and Nocedal 1989, Algorithm 2.1.

        x_t = x_{t-1} - a_t H_t g_t,   a_t by the strong Wolfe conditions, lr tried first
        s_t = x_t - x_{t-1},   y_t = g(x_t) - g_t
        H_{t+1} = V' H_t V + s_t s_t' / (s_t . y_t),   V = 1 - y_t s_t' / (s_t . y_t)

    of which only the last m pairs (s, y) are kept: H_t g_t is the two loops of Nocedal and Wright 2006, Algorithm 7.4,
    which start from the multiple (s . y / y . y) of the identity, by the last pair. A pair whose s . y is not positive
    is left out, and where no lower point is found all are forgotten. While there is none, the first length tried is
    lr min(1, 1 / |g|_1), as torch has it.

    Both gradients of a pair are of the same batch: y is taken at the end of its step, at no cost after a line search.
    torch.optim.LBFGS with max_iter=1 takes it between the first evaluations of two steps, which on minibatches are of
    two functions; on one function both are the same. It leaves out pairs with s . y <= 1e-10, whatever the scale, so
    that it stops learning near the minimum of a small loss; here the bound is relative.
    """

    twin = "torch.optim.LBFGS"
    twin_options = {"max_iter": 1, "line_search_fn": None, "tolerance_grad": 0.0, "tolerance_change": 0.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        history: int = 10,
        line_search: str = "strong_wolfe",
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        counts(1, history=history)
        super().__init__(params, {"lr": lr, "history": history, "line_search": line_search}, weight_decay, maximize)

    def advance(self, f: Objective, state: State, h: Hyperparameters) -> None:
        """One step of the formula; the state holds the pairs as rows [up to m, n], the oldest first."""
        g = f.gradient
        S, Y = state.pop("S", g.new_empty(0, len(g))), state.pop("Y", g.new_empty(0, len(g)))
        first = h["lr"] if len(S) else h["lr"] * min(1.0, 1 / float(g.abs().sum()))
        s = f.move(-two_loops(g, S, Y), first, h["line_search"])
        if s is None:
            return
        y = f.new_gradient() - g
        if s @ y > torch.finfo(s.dtype).eps * s.norm() * y.norm():
            kept = max(0, len(S) + 1 - h["history"])
            S, Y = torch.cat([S[kept:], s[None]]), torch.cat([Y[kept:], y[None]])
        state["S"], state["Y"] = S, Y


def two_loops(g: Tensor, S: Tensor, Y: Tensor) -> Tensor:
    """H g for the H of the pairs in the rows of S and Y; Nocedal and Wright 2006, Algorithm 7.4."""
    pairs = [(s, y, 1 / (s @ y)) for s, y in zip(S, Y, strict=True)]
    q, alphas = g, []
    for s, y, rho in reversed(pairs):
        alphas.append(rho * (s @ q))
        q = q - alphas[-1] * y
    r = q / (pairs[-1][2] * (Y[-1] @ Y[-1])) if pairs else q
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + (alpha - rho * (y @ r)) * s
    return r
