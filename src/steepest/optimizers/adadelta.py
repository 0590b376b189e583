"""Adadelta."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class Adadelta(Rule):
    """Adadelta: steps in the parameters' own units, by the ratio of two running averages. Zeiler 2012, arXiv:1212.5701.

        E_t = rho E_{t-1} + (1 - rho) g_t^2
        d_t = sqrt(D_{t-1} + eps) / sqrt(E_t + eps) g_t
        D_t = rho D_{t-1} + (1 - rho) d_t^2
        x_t = x_{t-1} - lr d_t

    Algorithm 1 of the paper has no lr, which is lr = 1; torch and this rule leave lr out of D. The first step has the
    length sqrt(eps / (1 - rho)): eps is not only a guard, it starts the motion.
    """

    twin = "torch.optim.Adadelta"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(rho=rho)
        at_least(0.0, eps=eps)
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """E_0 = 0, D_0 = 0."""
        state["E"], state["D"] = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        rho, eps = h["rho"], h["eps"]
        E = state["E"].mul_(rho).addcmul_(g, g, value=1 - rho)
        d = state["D"].add(eps).sqrt_().div_(E.add(eps).sqrt_()).mul_(g)
        state["D"].mul_(rho).addcmul_(d, d, value=1 - rho)
        p.add_(d, alpha=-h["lr"])
