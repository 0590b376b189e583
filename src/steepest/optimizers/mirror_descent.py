"""Mirror descent."""

import math
from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.errors import ConfigError
from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, one_of

MIRRORS = ("p_norm", "euclidean", "entropy")
FROM_THE_SIMPLEX = 0.01  # how far a sum may be from 1: bfloat16 rounds entries by up to 0.004


class MirrorDescent(Rule):
    """Mirror descent: the gradient step is taken in the dual space of a mirror psi. Beck and Teboulle 2003.

        x_t = grad psi*(grad psi(x_{t-1}) - lr g_t)

        euclidean   psi = |x|_2^2 / 2            grad psi = grad psi* = id: SGD
        p_norm      psi = |x|_p^2 / 2            (grad psi(x))_i = sign(x_i) |x_i|^(p-1) / |x|_p^(p-2)
                                                 grad psi* is the same with q, 1/p + 1/q = 1
        entropy     psi = sum_i x_i log x_i      x_{t,i} = x_{t-1,i} exp(-lr g_{t,i}) / sum_j x_{t-1,j} exp(-lr g_{t,j})

    p_norm takes a whole tensor as one vector (Grove et al. 2001); with p near 1 the large entries move the most, and
    p = 2 is SGD. With entropy every vector along the last dimension is a point of the simplex (exponentiated gradient,
    Kivinen and Warmuth 1997; Beck and Teboulle, Section 5). Weight decay of the forms times_lr and decoupled has no
    effect there, since a vector that is scaled becomes the same point.

    Raises:
        ConfigError: at construction, and with entropy at the first step for a parameter that is not in the simplex.
    """

    reach = "tensor"
    takes_shards = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        mirror: str = "p_norm",
        p: float = 1.5,
        **shared: Unpack[Shared],
    ) -> None:
        one_of(MIRRORS, mirror=mirror)
        if not 1.0 < p < math.inf:
            raise ConfigError(f"optimizer.p={p} is not possible; allowed is a number above 1.")
        if mirror == "entropy" and shared.get("cautious"):
            raise ConfigError(
                "optimizer.cautious=true is not possible with optimizer.mirror=entropy, since a masked step leaves the "
                "simplex; allowed is false."
            )
        super().__init__(params, {"lr": lr, "mirror": mirror, "p": p}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """No state; the entropy is one of points of the simplex."""
        if h["mirror"] == "entropy" and not _in_the_simplex(p):
            raise ConfigError(
                f"optimizer.mirror=entropy is not possible for a parameter of shape {list(p.shape)} that is not in the "
                "simplex; allowed are vectors (along the last dimension) of positive numbers with the sum 1."
            )

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula."""
        lr, q = h["lr"], h["p"] / (h["p"] - 1)
        match h["mirror"]:
            case "euclidean":
                p.add_(g, alpha=-lr)
            case "p_norm":
                dual = half_square_gradient(p, h["p"]).sub_(g, alpha=lr)
                p.copy_(half_square_gradient(dual, q))
            case "entropy":
                # An entry that rounding has made 0 may come back.
                dual = p.clamp(min=torch.finfo(p.dtype).tiny).log_().sub_(g, alpha=lr)
                p.copy_(torch.softmax(dual, dim=-1))


def half_square_gradient(x: Tensor, p: float) -> Tensor:
    """The gradient of |x|_p^2 / 2, which is 0 at 0; no power in it overflows."""
    if not x.numel():
        return x.clone()
    largest = x.abs().amax().clamp_(min=torch.finfo(x.dtype).tiny)
    r = (x / largest).abs_()
    norm = (r**p).sum().pow_(1 / p).clamp_(min=1.0)  # of r, whose largest entry is 1 unless x is 0
    return r.pow_(p - 1).mul_(x.sign()).mul_(largest * norm ** (2 - p))


def _in_the_simplex(p: Tensor) -> bool:
    return p.numel() == 0 or bool((p > 0).all() and ((p.sum(-1) - 1).abs() <= FROM_THE_SIMPLEX).all())
