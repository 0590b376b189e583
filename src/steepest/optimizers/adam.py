"""Adam."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class Adam(Rule):
    """Adam: bias-corrected moving averages of the gradient and its square. Kingma and Ba 2015, arXiv:1412.6980, Alg. 1.

    m_t = b1 m_{t-1} + (1 - b1) g_t
    v_t = b2 v_{t-1} + (1 - b2) g_t^2
    x_t = x_{t-1} - lr m^_t / (sqrt(v^_t) + eps),   m^_t = m_t / (1 - b1^t),   v^_t = v_t / (1 - b2^t)
    """

    twin = "torch.optim.Adam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps)
        super().__init__(params, {"lr": lr, "betas": list(betas), "eps": eps}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, v_0 = 0."""
        state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line; in place, since allocation is half of an eager step's time."""
        lr, (b1, b2), eps, t = h["lr"], h["betas"], h["eps"], state["step"]
        m = state["m"].lerp_(g, 1 - b1)
        v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        root = v.sqrt().div_((1 - b2**t) ** 0.5).add_(eps)
        p.addcdiv_(m, root, value=-lr / (1 - b1**t))
