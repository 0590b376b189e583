"""Non-linear conjugate gradients."""

from collections.abc import Iterable
from typing import Any

from steepest.optimizers.closure_rule import ClosureRule
from steepest.optimizers.objective import Objective
from steepest.optimizers.rule import Hyperparameters, State


class ConjugateGradient(ClosureRule):
    """Conjugate gradients: every direction keeps a part of the last. Polak and Ribiere 1969, in the form PR+.

        d_t = -g_t + b_{t-1} d_{t-1},   or -g_t where that does not lead down
        x_t = x_{t-1} + a_t d_t,   a_t by the strong Wolfe conditions
        b_t = max(0, g(x_t) . (g(x_t) - g_t) / g_t . g_t)

    Nocedal and Wright 2006, Section 5.2; Gilbert and Nocedal 1992 for the maximum with 0. Where no lower point is
    found, the last direction is forgotten. The search is strict, c2 = 0.1, since d_t needs a good a_{t-1} to be of use;
    with exact lengths n steps end a quadratic function of n variables. The length tried first is lr times the one that
    would change the value as much as the last step promised; at the start it is lr min(1, 1 / |g|_1).

    Both gradients of b_t are of the same batch: g(x_t) is what the line search saw at its end, not what the next step
    starts with. On one function this is the usual b_t.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        line_search: str = "strong_wolfe",
        weight_decay: float = 0.0,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "line_search": line_search}, weight_decay, maximize)

    def advance(self, f: Objective, state: State, h: Hyperparameters) -> None:
        """One step of the formula; the state holds b_t d_t, and the length and the slope of the step."""
        g, lr = f.gradient, h["lr"]
        kept, length, slope = state.pop("kept", None), state.pop("length", None), state.pop("slope", None)
        d = -g if kept is None or g @ (kept - g) >= 0 else kept - g
        if h["line_search"] == "none":
            first = lr
        elif kept is None:
            first = lr * min(1.0, 1 / float(g.abs().sum()))
        else:
            first = lr * length * min(10.0, slope / float(g @ d))
        s = f.move(d, first, h["line_search"], c2=0.1)
        if s is None:
            return
        g_new = f.new_gradient()
        b = max(0.0, float(g_new @ (g_new - g) / (g @ g)))
        state["kept"], state["length"], state["slope"] = b * d, float(s @ d / (d @ d)), float(g @ d)
