"""Nesterov momentum: as torch writes it, and with the gradient at the look-ahead point."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, fractions, one_of

FORMS = ("torch", "lookahead")


class Nesterov(Rule):
    """Nesterov's accelerated gradient, in two forms. Nesterov 1983; Sutskever et al. 2013, ICML.

    form = torch, that of torch.optim.SGD; the parameters x are taken for the weights:

        v_t = momentum v_{t-1} + g_t
        x_t = x_{t-1} - lr (g_t + momentum v_t)

    form = lookahead; the gradient g of theta's loss is wanted at x = theta - momentum v, so x are the parameters:

        v_t = momentum v_{t-1} + lr g(theta_{t-1} - momentum v_{t-1})
        theta_t = theta_{t-1} - v_t
        x_t = theta_t - momentum v_t

    Since theta_{t-1} = x_{t-1} + momentum v_{t-1}, the last two lines are x_t = x_{t-1} - lr g_t - momentum v_t. The
    state is the shift momentum v_t, so that theta = x + shift, the weights to evaluate, is exact whatever a schedule
    does to the momentum: a new value counts from the next shift on. Weight decay acts on x.

    While lr is constant both forms have the same x; when it changes, the velocity of the second keeps its length.
    """

    twin = "torch.optim.SGD"
    twin_options = {"nesterov": True}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        form: str = "torch",
        **shared: Unpack[Shared],
    ) -> None:
        fractions(momentum=momentum)
        one_of(FORMS, form=form)
        self.evaluates_elsewhere = form == "lookahead"  # type: ignore[misc]  # here a matter of the form
        super().__init__(params, {"lr": lr, "momentum": momentum, "form": form}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """v_0 = 0."""
        state["v" if h["form"] == "torch" else "shift"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the form's formula, a line for a line."""
        if h["form"] == "torch":
            v = state["v"].mul_(h["momentum"]).add_(g)
            p.add_(g.add(v, alpha=h["momentum"]), alpha=-h["lr"])
        else:
            v = state["shift"].add_(g, alpha=h["lr"])
            shift = v.mul_(h["momentum"])
            p.add_(g, alpha=-h["lr"]).sub_(shift)

    def evaluation_weights(self, p: Tensor, state: State, h: Hyperparameters) -> Tensor:
        """The weights that the shift was taken from: theta = x + momentum v."""
        return p + state["shift"]
