"""Adagrad."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least


class Adagrad(Rule):
    """Adagrad: steps shrink by the root of an entry's summed squared gradients. Duchi et al. 2011, JMLR 12, Fig. 1.

        G_t = G_{t-1} + g_t^2,   G_0 = initial_accumulator
        x_t = x_{t-1} - lr g_t / (sqrt(G_t) + eps)

    torch's default eps is 1e-10. The paper's delta stands where eps does.
    """

    twin = "torch.optim.Adagrad"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.01,
        eps: float = 1e-8,
        initial_accumulator: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        at_least(0.0, eps=eps, initial_accumulator=initial_accumulator)
        super().__init__(params, {"lr": lr, "eps": eps, "initial_accumulator": initial_accumulator}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """G_0 = initial_accumulator."""
        state["G"] = torch.full_like(p, h["initial_accumulator"])

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        G = state["G"].addcmul_(g, g)
        p.addcdiv_(g, G.sqrt().add_(h["eps"]), value=-h["lr"])
