"""AdaBelief."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class AdaBelief(Rule):
    """AdaBelief: Adam scaled by how far gradients stray from their mean. Zhuang et al. 2020, arXiv:2010.07468, Alg. 2.

        m_t = b1 m_{t-1} + (1 - b1) g_t
        s_t = b2 s_{t-1} + (1 - b2) (g_t - m_t)^2 + eps
        x_t = x_{t-1} - lr m^_t / (sqrt(s^_t) + eps),   m^_t = m_t / (1 - b1^t),   s^_t = s_t / (1 - b2^t)

    Algorithm 2 adds eps twice: inside the recursion, where it gathers to eps / (1 - b2), and to the root. So eps has
    the size of a squared gradient: sqrt(eps / (1 - b2)) stands where Adam has its eps.
    """

    twin = "pytorch_optimizer.AdaBelief"
    twin_options = {"weight_decouple": False, "rectify": False}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-16,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps)
        super().__init__(params, {"lr": lr, "betas": list(betas), "eps": eps}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, s_0 = 0."""
        state["m"], state["s"] = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (b1, b2), eps, t = h["lr"], h["betas"], h["eps"], state["step"]
        m = state["m"].lerp_(g, 1 - b1)
        surprise = g - m
        s = state["s"].mul_(b2).addcmul_(surprise, surprise, value=1 - b2).add_(eps)
        root = s.sqrt().div_((1 - b2**t) ** 0.5).add_(eps)
        p.addcdiv_(m, root, value=-lr / (1 - b1**t))
