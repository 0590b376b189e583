"""SGD with momentum, as torch writes it."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, fractions


class SGDMomentum(Rule):
    """SGD with momentum, the learning rate outside the velocity: the form of torch.optim.SGD.

        v_t = momentum v_{t-1} + g_t
        x_t = x_{t-1} - lr v_t

    Polyak's heavy ball (1964), also in Sutskever et al. 2013, has the learning rate inside the velocity. Both are equal
    while lr is constant; when lr drops, this form shortens the whole step at once, the heavy ball only the part that
    the new gradient adds.
    """

    twin = "torch.optim.SGD"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(momentum=momentum)
        super().__init__(params, {"lr": lr, "momentum": momentum}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """v_0 = 0."""
        state["v"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        v = state["v"].mul_(h["momentum"]).add_(g)
        p.add_(v, alpha=-h["lr"])
