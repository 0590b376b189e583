"""AdaMax."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class AdaMax(Rule):
    """AdaMax: Adam with the largest recent gradient as its scale. Kingma and Ba 2015, arXiv:1412.6980, Algorithm 2.

        m_t = b1 m_{t-1} + (1 - b1) g_t
        u_t = max(b2 u_{t-1}, |g_t| + eps)
        x_t = x_{t-1} - lr / (1 - b1^t) m_t / u_t

    The eps is torch's; with eps = 0 this is the paper's, where an entry that has not yet had a gradient is 0 / 0.
    """

    twin = "torch.optim.Adamax"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps)
        super().__init__(params, {"lr": lr, "betas": list(betas), "eps": eps}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, u_0 = 0."""
        state["m"], state["u"] = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        b1, b2 = h["betas"]
        m = state["m"].lerp_(g, 1 - b1)
        u = torch.maximum(state["u"].mul_(b2), g.abs().add_(h["eps"]), out=state["u"])
        p.addcdiv_(m, u, value=-h["lr"] / (1 - b1 ** state["step"]))
