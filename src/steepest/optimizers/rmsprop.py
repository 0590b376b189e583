"""RMSProp."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class RMSProp(Rule):
    """RMSProp: the gradient over the root of the running average of its square. Hinton 2012, Coursera, lecture 6e.

        E_t = rho E_{t-1} + (1 - rho) g_t^2
        x_t = x_{t-1} - lr g_t / sqrt(E_t + eps)           eps_inside_root = true
        x_t = x_{t-1} - lr g_t / (sqrt(E_t) + eps)         eps_inside_root = false, torch's form

    With `centered` (Graves 2013, arXiv:1308.0850, Eq. 38-45) the variance E_t - a_t^2 stands where E_t does; what
    rounding leaves below 0 of it is 0, where torch's root is not a number:

        a_t = rho a_{t-1} + (1 - rho) g_t

    With `momentum` the scaled gradient u_t, what lr multiplies above, gathers speed, the learning rate outside:

        b_t = momentum b_{t-1} + u_t
        x_t = x_{t-1} - lr b_t
    """

    twin = "torch.optim.RMSprop"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        rho: float = 0.9,
        eps: float = 1e-8,
        eps_inside_root: bool = True,
        centered: bool = False,
        momentum: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(rho=rho, momentum=momentum)
        at_least(0.0, eps=eps)
        own = {"rho": rho, "eps": eps, "eps_inside_root": eps_inside_root, "centered": centered, "momentum": momentum}
        super().__init__(params, {"lr": lr, **own}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """E_0 = 0, a_0 = 0, b_0 = 0."""
        state["E"] = torch.zeros_like(p)
        if h["centered"]:
            state["a"] = torch.zeros_like(p)
        if h["momentum"]:
            state["b"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, rho, eps = h["lr"], h["rho"], h["eps"]
        E = state["E"].mul_(rho).addcmul_(g, g, value=1 - rho)
        if h["centered"]:
            a = state["a"].lerp_(g, 1 - rho)
            E = E.addcmul(a, a, value=-1).clamp_(min=0)
        root = E.add(eps).sqrt_() if h["eps_inside_root"] else E.sqrt().add_(eps)
        if h["momentum"]:
            b = state["b"].mul_(h["momentum"]).addcdiv_(g, root)
            p.add_(b, alpha=-lr)
        else:
            p.addcdiv_(g, root, value=-lr)
