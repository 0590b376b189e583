"""Stochastic gradient descent."""

from collections.abc import Iterable
from typing import Any, Unpack

from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State


class SGD(Rule):
    """Stochastic gradient descent. Robbins and Monro 1951, A Stochastic Approximation Method.

    x_t = x_{t-1} - lr g_t
    """

    twin = "torch.optim.SGD"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        **shared: Unpack[Shared],
    ) -> None:
        super().__init__(params, {"lr": lr}, **shared)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula."""
        p.add_(g, alpha=-h["lr"])
