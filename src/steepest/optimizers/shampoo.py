"""Shampoo."""

from collections.abc import Iterable
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.errors import ConfigError
from steepest.optimizers.matrix_rule import MatrixRule, along, eigh, outer
from steepest.optimizers.rule import Hyperparameters, Shared, State, at_least, fractions


class Shampoo(MatrixRule):
    """Shampoo: full-matrix AdaGrad's scaling, one factor for each side. Gupta et al. 2018, arXiv:1802.09568, Alg. 1, 2.

        L_t = L_{t-1} + G_t G_t^T,   R_t = R_{t-1} + G_t^T G_t
        M_t = momentum M_{t-1} + (1 - momentum) G_t
        x_t = x_{t-1} - lr (L_t + eps I)^{-1/4} M_t (R_t + eps I)^{-1/4}

    A tensor of k dimensions has k factors, each to the power -1/(2k) (Algorithm 2); a convolution's kernel has four.
    A side longer than `max_dim` keeps its factor's diagonal alone. Vectors, and what else is not seen as a matrix, keep
    a diagonal of all entries, which is AdaGrad (Duchi et al. 2011), momentum included:

        v_t = v_{t-1} + g_t^2
        x_t = x_{t-1} - lr M_t / sqrt(v_t + eps)

    With beta2 < 1 averages stand for the sums, L_t = beta2 L_{t-1} + (1 - beta2) G_t G_t^T, and L_t / (1 - beta2^t) in
    the third line. The paper starts at L_0 = eps I, which is the same for sums. The roots are taken anew in every
    `every`-th step, and in each of the first `every` steps, when an older root misses directions that the next gradient
    has. With momentum=0, beta2=1 and every=1 this is Algorithm 2.
    """

    twin = "pytorch_optimizer.Shampoo"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.3,
        momentum: float = 0.9,
        beta2: float = 1.0,
        eps: float = 1e-4,
        every: int = 10,
        max_dim: int = 1024,
        matrix: bool = True,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(momentum=momentum)
        at_least(0.0, eps=eps, max_dim=max_dim)
        at_least(1, every=every)
        if not 0.0 <= beta2 <= 1.0:
            raise ConfigError(f"optimizer.beta2={beta2} is not possible; allowed is a number from 0 to 1.")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "beta2": beta2,
            "eps": eps,
            "every": every,
            "max_dim": max_dim,
            "matrix": matrix,
        }
        super().__init__(params, defaults, **shared)

    def init_matrix(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """M_0 = 0; L_0 = 0 for each side, or its diagonal, and P_0 = 0, which will be its root."""
        state["M"] = torch.zeros_like(p)
        for i, n in enumerate(p.shape):
            state[f"L{i}"] = p.new_zeros((n, n) if n <= h["max_dim"] else (n,))
            state[f"P{i}"] = torch.zeros_like(state[f"L{i}"])

    def update_matrix(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line and a side for a side."""
        t, every, k = state["step"], h["every"], p.dim()
        step = state["M"].lerp_(g, 1 - h["momentum"])
        for i in range(k):
            L, full = state[f"L{i}"], state[f"L{i}"].dim() == 2
            add(L, outer(g, i) if full else g.square().movedim(i, 0).flatten(1).sum(1), h["beta2"])
            if t <= every or t % every == 0:
                state[f"P{i}"] = inverse_root(total(L, h["beta2"], t), h["eps"], 2 * k)
            root = state[f"P{i}"]
            step = along(step, i, root) if full else step * root.view(-1, *[1] * (k - 1 - i))
        p.add_(step, alpha=-h["lr"])

    def init_vector(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """M_0 = 0, v_0 = 0."""
        state["M"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)

    def update_vector(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula for vectors, a line for a line."""
        M = state["M"].lerp_(g, 1 - h["momentum"])
        v = add(state["v"], g.square(), h["beta2"])
        p.addcdiv_(M, total(v, h["beta2"], state["step"]).add(h["eps"]).sqrt_(), value=-h["lr"])


def add(L: Tensor, new: Tensor, beta2: float) -> Tensor:
    """L + new for beta2 = 1, beta2 L + (1 - beta2) new below it; in place."""
    return L.add_(new) if beta2 == 1 else L.lerp_(new, 1 - beta2)


def total(L: Tensor, beta2: float, t: int) -> Tensor:
    """L as it is used after t steps: a sum, or an average of which the bias towards its start at 0 is taken."""
    return L if beta2 == 1 else L / (1 - beta2**t)


def inverse_root(L: Tensor, eps: float, order: int) -> Tensor:
    """(L + eps I)^(-1 / order) of a matrix that is positive but for rounding, or of a diagonal, shape (n,)."""
    if L.dim() == 1:
        return L.add(eps).pow_(-1 / order)
    eigenvalues, q = eigh(L)
    return (q * eigenvalues.clamp(min=0).add(eps).pow(-1 / order)) @ q.T
