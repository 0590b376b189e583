"""AMSGrad."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.adam import Adam
from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class AMSGrad(Adam):
    """AMSGrad: Adam whose scale of an entry never sinks. Reddi et al. 2018, arXiv:1904.09237, Algorithm 2.

        m_t = b1 m_{t-1} + (1 - b1) g_t
        v_t = b2 v_{t-1} + (1 - b2) g_t^2
        V_t = max(V_{t-1}, v_t)
        x_t = x_{t-1} - lr m_t / (sqrt(V_t) + eps)         bias_correction = false, the paper's (which has no eps)
        x_t = x_{t-1} - lr m^_t / (sqrt(V^_t) + eps),      bias_correction = true, torch's form
              m^_t = m_t / (1 - b1^t),   V^_t = V_t / (1 - b2^t)

    The maximum is taken before the correction, in torch too; so V^ can sink while t is small.
    """

    twin = "torch.optim.Adam"
    twin_options = {"amsgrad": True}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        bias_correction: bool = True,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps)
        own = {"lr": lr, "betas": list(betas), "eps": eps, "bias_correction": bias_correction}
        Rule.__init__(self, params, own, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, v_0 = 0, V_0 = 0."""
        super().init(p, state, h)
        state["V"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (b1, b2), eps, t = h["lr"], h["betas"], h["eps"], state["step"]
        m = state["m"].lerp_(g, 1 - b1)
        v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        V = torch.maximum(state["V"], v, out=state["V"])
        c1, c2 = (1 - b1**t, 1 - b2**t) if h["bias_correction"] else (1.0, 1.0)
        p.addcdiv_(m, V.sqrt().div_(c2**0.5).add_(eps), value=-lr / c1)
