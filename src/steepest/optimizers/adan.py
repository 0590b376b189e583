"""Adan."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, State, at_least, fractions


class Adan(Rule):
    """Adan: Adam with Nesterov momentum out of gradient differences. Xie et al. 2022, arXiv:2208.06677, Algorithm 1.

        m_t = b1 m_{t-1} + (1 - b1) g_t
        v_t = b2 v_{t-1} + (1 - b2) (g_t - g_{t-1}),   g_0 = g_1
        n_t = b3 n_{t-1} + (1 - b3) (g_t + b2 (g_t - g_{t-1}))^2
        u_t = (m^_t + b2 v^_t) / (sqrt(n^_t) + eps)
        x_t = (x_{t-1} - lr u_t) / (1 + lr weight_decay)          weight_decay_form = times_lr

    The betas weigh the past, as Adam's do: each is 1 minus the paper's, whose (0.02, 0.08, 0.01) are the defaults here.
    The corrections m^ = m / (1 - b1^t), v^ by b2 and n^ by b3 are those of the authors' code, Algorithm 1 has none; its
    restart is left out. The decay is proximal in the form times_lr alone; the others come before the step, as in every
    rule.

    A row that a sparse gradient first touches after t = 1 has g_{t-1} = 0.
    """

    twin = "pytorch_optimizer.Adan"
    twin_options = {"weight_decouple": False}
    own_decay = ("times_lr",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps)
        super().__init__(
            params,
            {"lr": lr, "betas": list(betas), "eps": eps},
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, v_0 = 0, n_0 = 0; the gradient before is set at t = 1."""
        for key in ("m", "v", "n", "g"):
            state[key] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (b1, b2, b3), eps, t = h["lr"], h["betas"], h["eps"], state["step"]
        change = g - (g if t == 1 else state["g"])
        m = state["m"].lerp_(g, 1 - b1)
        v = state["v"].lerp_(change, 1 - b2)
        ahead = change.mul_(b2).add_(g)
        n = state["n"].mul_(b3).addcmul_(ahead, ahead, value=1 - b3)
        root = n.sqrt().div_((1 - b3**t) ** 0.5).add_(eps)
        p.addcdiv_(m, root, value=-lr / (1 - b1**t))
        p.addcdiv_(v, root, value=-lr * b2 / (1 - b2**t))
        if h["weight_decay_form"] == "times_lr":
            p.div_(1 + lr * h["weight_decay"])
        state["g"].copy_(g)
