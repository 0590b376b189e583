"""Nesterov momentum, as torch writes it."""

from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, State
from steepest.optimizers.sgd_momentum import SGDMomentum


class Nesterov(SGDMomentum):
    """Nesterov's accelerated gradient at the shifted point. Sutskever et al. 2013, in the form of torch.optim.SGD.

        v_t = momentum v_{t-1} + g_t
        x_t = x_{t-1} - lr (g_t + momentum v_t)

    The parameters kept here are the look-ahead point of Nesterov 1983, so that the gradient is taken where they stand.
    """

    twin = "torch.optim.SGD"
    twin_options = {"nesterov": True}

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        v = state["v"].mul_(h["momentum"]).add_(g)
        p.add_(g.add(v, alpha=h["momentum"]), alpha=-h["lr"])
