"""Lion."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, State, fractions


class Lion(Rule):
    """Lion: the sign of a momentum that leans on the newest gradient. Chen et al. 2023, arXiv:2302.06675, Alg. 2.

        c_t = b1 m_{t-1} + (1 - b1) g_t
        x_t = x_{t-1} - lr (sign(c_t) + weight_decay x_{t-1})
        m_t = b2 m_{t-1} + (1 - b2) g_t

    The decay as written is the form times_lr. Every entry moves by lr, whatever the gradient's size, so that lr is 3 to
    10 times smaller than Adam's, and the weight decay as much larger.
    """

    twin = "pytorch_optimizer.Lion"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(betas=betas)
        super().__init__(
            params,
            {"lr": lr, "betas": list(betas)},
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0."""
        state["m"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        b1, b2 = h["betas"]
        c = state["m"].lerp(g, 1 - b1)
        p.add_(c.sign_(), alpha=-h["lr"])
        state["m"].lerp_(g, 1 - b2)
