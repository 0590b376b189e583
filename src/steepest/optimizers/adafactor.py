"""Adafactor."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.linalg import vector_norm

from steepest.errors import ConfigError, shown
from steepest.optimizers.rule import Hyperparameters, Rule, State, at_least


class Adafactor(Rule):
    """Adafactor: Adam's second moment in the memory of two vectors. Shazeer and Stern 2018, arXiv:1804.04235, Alg. 4.

        b_t = 1 - t^beta2_decay
        R_t = b_t R_{t-1} + (1 - b_t) mean of g_t^2 along the rows
        C_t = b_t C_{t-1} + (1 - b_t) mean of g_t^2 along the columns
        V_t = R_t C_t / max(mean R_t, eps1)
        U_t = g_t / max(sqrt(V_t), eps1)
        x_t = x_{t-1} - max(eps2, rms(x_{t-1})) min(lr, 1/sqrt(t)) U_t / max(1, rms(U_t) / clip_threshold)

    The rows and columns are those of the last two dimensions; scalars and vectors keep the whole V_t, as R_t does.
    This is torch's form. The paper has 0.01 in the place of lr, and eps1 (1e-30) inside of the averages of g^2 instead
    of below the root; null for eps1 is the resolution of the numbers, 1.2e-7 in float32. Its mean is a sum, whose ratio
    is the same. Weight decay of the form times_lr shrinks x by lr weight_decay after rms(x) is taken.
    """

    twin = "torch.optim.Adafactor"
    reach = "tensor"
    takes_shards = False
    own_decay = ("times_lr",)

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        clip_threshold: float = 1.0,
        weight_decay: float = 0.0,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        at_least(1.0, clip_threshold=clip_threshold)
        if not -math.inf < beta2_decay <= 0.0:
            raise ConfigError(f"optimizer.beta2_decay={beta2_decay} is not possible; allowed is a number of 0 or less.")
        _check_eps(eps)
        super().__init__(
            params,
            {"lr": lr, "beta2_decay": beta2_decay, "eps": list(eps), "clip_threshold": clip_threshold},
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """R_0 = 0, C_0 = 0, and V_0 = 0 for scalars and vectors."""
        if p.ndim > 1:
            state["R"], state["C"] = torch.zeros_like(p[..., :1]), torch.zeros_like(p[..., :1, :])
        else:
            state["V"] = torch.zeros_like(p)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (eps1, eps2), t = h["lr"], h["eps"], state["step"]
        eps1 = torch.finfo(p.dtype).eps if eps1 is None else eps1
        one_minus_b = t ** h["beta2_decay"]
        if p.ndim > 1:
            R = state["R"].lerp_(_mean_square(g, -1), one_minus_b)
            C = state["C"].lerp_(_mean_square(g, -2), one_minus_b)
            V = (R * C).div_(R.mean(dim=-2, keepdim=True).clamp_(min=eps1))
        else:
            V = state["V"].lerp_(g.square(), one_minus_b).clone()
        U = V.clamp_(min=eps1**2).rsqrt_().mul_(g)
        size = _rms(p).clamp_(min=eps2) * min(lr, t**-0.5)
        clip = (_rms(U) / h["clip_threshold"]).clamp_(min=1.0)
        if h["weight_decay_form"] == "times_lr":
            p.mul_(1 - lr * h["weight_decay"])
        p.addcmul_(U, size / clip, value=-1)


def _rms(x: Tensor) -> Tensor:
    return vector_norm(x) / max(x.numel(), 1) ** 0.5


def _mean_square(x: Tensor, dim: int) -> Tensor:
    """Along a dimension, without the square of the whole."""
    return vector_norm(x, dim=dim, keepdim=True).square_().div_(max(x.shape[dim], 1))


def _check_eps(eps: Any) -> None:
    pair = isinstance(eps, Sequence) and len(eps) == 2 and eps[1] is not None
    if not (pair and all(entry is None or 0.0 <= entry < math.inf for entry in eps)):
        raise ConfigError(
            f"optimizer.eps={shown(eps)} is not possible; allowed are two numbers of 0 or more, the first or null."
        )
