"""NAdam."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class NAdam(Rule):
    """NAdam: Adam with Nesterov's look-ahead in its momentum. Dozat 2016, openreview OM0jvwB8jIp57ZJjtNEZ.

        mu_t = b1 (1 - 0.96^(t momentum_decay) / 2)
        m_t = b1 m_{t-1} + (1 - b1) g_t
        v_t = b2 v_{t-1} + (1 - b2) g_t^2
        m^_t = mu_{t+1} m_t / (1 - mu_1 ... mu_{t+1}) + (1 - mu_t) g_t / (1 - mu_1 ... mu_t)
        x_t = x_{t-1} - lr m^_t / (sqrt(v_t / (1 - b2^t)) + eps)

    This is torch's form; the paper's moment has mu_t where m_t here has b1. A large momentum_decay means mu_t = b1, the
    constant momentum with which the paper starts; 0 means mu_t = b1 / 2.
    """

    twin = "torch.optim.NAdam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        momentum_decay: float = 4e-3,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps, momentum_decay=momentum_decay)
        own = {"lr": lr, "betas": list(betas), "eps": eps, "momentum_decay": momentum_decay}
        super().__init__(params, own, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, v_0 = 0, and the empty product of mu."""
        state["m"], state["v"], state["mu_product"] = torch.zeros_like(p), torch.zeros_like(p), 1.0

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (b1, b2), eps, t = h["lr"], h["betas"], h["eps"], state["step"]
        mu, mu_next = (b1 * (1 - 0.96 ** (s * h["momentum_decay"]) / 2) for s in (t, t + 1))
        state["mu_product"] *= mu
        m = state["m"].lerp_(g, 1 - b1)
        v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        root = v.sqrt().div_((1 - b2**t) ** 0.5).add_(eps)
        p.addcdiv_(m, root, value=-lr * mu_next / (1 - state["mu_product"] * mu_next))
        p.addcdiv_(g, root, value=-lr * (1 - mu) / (1 - state["mu_product"]))
