"""RAdam."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class RAdam(Rule):
    """RAdam: Adam that adapts only as far as the variance is known. Liu et al. 2020, arXiv:1908.03265, Algorithm 2.

        m_t = b1 m_{t-1} + (1 - b1) g_t,   m^_t = m_t / (1 - b1^t)
        v_t = b2 v_{t-1} + (1 - b2) g_t^2
        rho = 2 / (1 - b2) - 1,   rho_t = rho - 2 t b2^t / (1 - b2^t)
        r_t = sqrt((rho_t - 4) (rho_t - 2) rho / ((rho - 4) (rho - 2) rho_t))
        x_t = x_{t-1} - lr r_t m^_t sqrt(1 - b2^t) / (sqrt(v_t) + eps)        where rho_t > 5
        x_t = x_{t-1} - lr m^_t                                               elsewhere

    The paper's bound is rho_t > 4 and it has no eps; the bound 5 is that of the authors' code and of torch. For
    b2 <= 2/3 the bound is never reached, and the rule is momentum with bias correction.
    """

    twin = "torch.optim.RAdam"

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
        """One step of the formula, a line for a line."""
        (b1, b2), t = h["betas"], state["step"]
        m = state["m"].lerp_(g, 1 - b1)
        v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        lr = h["lr"] / (1 - b1**t)
        rho = 2 / (1 - b2) - 1
        rho_t = rho - 2 * t * b2**t / (1 - b2**t)
        if rho_t > 5:
            r = ((rho_t - 4) * (rho_t - 2) * rho / ((rho - 4) * (rho - 2) * rho_t)) ** 0.5
            p.addcdiv_(m, v.sqrt().add_(h["eps"]), value=-lr * r * (1 - b2**t) ** 0.5)
        else:
            p.add_(m, alpha=-lr)
