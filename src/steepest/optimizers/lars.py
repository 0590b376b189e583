"""LARS."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class LARS(Rule):
    """LARS: each tensor has its own rate, in proportion to its norm. You et al. 2017, arXiv:1708.03888, Algorithm 1.

        rate_t = trust_coefficient |x_{t-1}| / (|g_t| + weight_decay |x_{t-1}| + eps)
        v_t = momentum v_{t-1} + lr rate_t (g_t + weight_decay x_{t-1})
        x_t = x_{t-1} - v_t

    The paper has no eps. It leaves open what a tensor of zeros does, whose rate would keep it at 0: here the rate is 1
    where |x| or the sum below it is 0. The learning rate is inside the velocity, as in Polyak's heavy ball; most
    libraries have it outside, which is the same while lr is constant.
    Weight decay of the other forms is not in the rate.
    """

    twin = "optax.lars"
    reach = "tensor"
    own_decay = ("l2",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        momentum: float = 0.9,
        trust_coefficient: float = 1e-3,
        eps: float = 0.0,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(momentum=momentum)
        at_least(0.0, trust_coefficient=trust_coefficient, eps=eps)
        own = {"lr": lr, "momentum": momentum, "trust_coefficient": trust_coefficient, "eps": eps}
        super().__init__(params, own, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """v_0 = 0."""
        state["v"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        w = h["weight_decay"] if h["weight_decay_form"] == "l2" else 0.0
        x_norm, g_norm = torch.linalg.vector_norm(p), torch.linalg.vector_norm(g)
        below = g_norm + w * x_norm + h["eps"]
        rate = torch.where((x_norm > 0) & (below > 0), h["trust_coefficient"] * x_norm / below, 1.0)
        v = state["v"].mul_(h["momentum"]).addcmul_(g.add(p, alpha=w), rate, value=h["lr"])
        p.sub_(v)
