"""LAMB."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.errors import ConfigError, shown
from steepest.optimizers.rule import Hyperparameters, Rule, State, at_least, fractions


class LAMB(Rule):
    """LAMB: Adam's step, made as long as the tensor that it moves. You et al. 2020, arXiv:1904.00962, Algorithm 2.

        m_t = b1 m_{t-1} + (1 - b1) g_t
        v_t = b2 v_{t-1} + (1 - b2) g_t^2
        u_t = m^_t / (sqrt(v^_t) + eps) + weight_decay x_{t-1}
        x_t = x_{t-1} - lr (|x_{t-1}| / |u_t|) u_t

    with m^ and v^ of Adam. The trust ratio |x| / |u| of a tensor, or 1 where a norm is 0, is put within
    `trust_bounds`; [1, 1] makes this AdamW. The paper bounds |x| itself, by a function that it leaves open.
    Weight decay of the other forms is not in the ratio.
    """

    twin = "optax.lamb"
    reach = "tensor"
    own_decay = ("times_lr",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        trust_bounds: tuple[float, float] | None = None,
        weight_decay: float = 0.01,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(betas=betas)
        at_least(0.0, eps=eps)
        _check_bounds(trust_bounds)
        bounds = None if trust_bounds is None else list(trust_bounds)
        super().__init__(
            params,
            {"lr": lr, "betas": list(betas), "eps": eps, "trust_bounds": bounds},
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """m_0 = 0, v_0 = 0."""
        state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (b1, b2), eps, t = h["lr"], h["betas"], h["eps"], state["step"]
        m = state["m"].lerp_(g, 1 - b1)
        v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        root = v.sqrt().div_((1 - b2**t) ** 0.5).add_(eps)
        u = torch.div(m, root, out=root).div_(1 - b1**t)
        if h["weight_decay_form"] == "times_lr":
            u.add_(p, alpha=h["weight_decay"])
        p.addcmul_(u, trust_ratio(p, u, h["trust_bounds"]), value=-lr)


def trust_ratio(x: Tensor, u: Tensor, bounds: Sequence[float] | None) -> Tensor:
    """|x| / |u|, or 1 where a norm is 0; within the bounds."""
    x_norm, u_norm = torch.linalg.vector_norm(x), torch.linalg.vector_norm(u)
    ratio = torch.where((x_norm > 0) & (u_norm > 0), x_norm / u_norm, 1.0)
    return ratio if bounds is None else ratio.clamp(*bounds)


def _check_bounds(bounds: Sequence[float] | None) -> None:
    if bounds is not None and not (len(bounds) == 2 and 0.0 <= bounds[0] <= bounds[1]):
        raise ConfigError(
            f"optimizer.trust_bounds={shown(bounds)} is not possible; allowed are null or two numbers of 0 or more, "
            "the lower one first."
        )
