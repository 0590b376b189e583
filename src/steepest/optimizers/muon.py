"""Muon."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.errors import ConfigError, shown
from steepest.optimizers.matrix_rule import MatrixRule
from steepest.optimizers.rule import Hyperparameters, State, at_least, fractions, one_of

NS_DTYPES = {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
ADJUST_LR = ("original", "match_rms_adamw")


class Muon(MatrixRule):
    """Muon: the momentum's orthogonal factor is the step. Jordan et al. 2024, kellerjordan.github.io/posts/muon.

        B_t = momentum B_{t-1} + (1 - momentum) G_t
        M_t = momentum B_t + (1 - momentum) G_t        nesterov; without it M_t = B_t
        O_t = newton_schulz(M_t)                       about U V^T of M_t = U S V^T
        x_t = x_{t-1} - lr c O_t

    A matrix has r rows and s columns; a tensor of more dimensions is its first one times all others. c depends on them:

        original           c = sqrt(max(1, r / s))     Jordan 2024; torch's default; lr about 0.02
        match_rms_adamw    c = 0.2 sqrt(max(r, s))     Liu et al. 2025, arXiv:2502.16982

    With the second, a step's entries are as large as AdamW's, so that matrices share lr and weight decay with vectors
    (and what else is not seen as a matrix), which go to AdamW with `betas` and `adam_eps`. Jordan 2024 leaves input and
    output layers to AdamW as well: put these into a parameter group with matrix=false.

    newton_schulz does not see the length of M, so that it is the same whether B_t is the average above, as in torch, or
    the sum B_t = momentum B_{t-1} + G_t. It ends with singular values from about 0.7 to 1.2, on purpose. `ns_dtype`
    bfloat16 is torch's form and rounds O to 3 digits; the vectors U and V are then as exact as that.
    """

    twin = "torch.optim.Muon"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
        ns_dtype: str = "bfloat16",
        eps: float = 1e-7,
        adjust_lr: str = "match_rms_adamw",
        betas: tuple[float, float] = (0.9, 0.95),
        adam_eps: float = 1e-8,
        matrix: bool = True,
        weight_decay: float = 0.1,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(momentum=momentum, betas=betas)
        at_least(0.0, ns_steps=ns_steps, eps=eps, adam_eps=adam_eps)
        one_of(list(NS_DTYPES), ns_dtype=ns_dtype)
        one_of(ADJUST_LR, adjust_lr=adjust_lr)
        if len(ns_coefficients) != 3:
            raise ConfigError(f"optimizer.ns_coefficients={shown(ns_coefficients)} is not possible; allowed are three.")
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_steps": ns_steps,
            "ns_coefficients": list(ns_coefficients),
            "ns_dtype": ns_dtype,
            "eps": eps,
            "adjust_lr": adjust_lr,
            "betas": list(betas),
            "adam_eps": adam_eps,
            "matrix": matrix,
        }
        super().__init__(params, defaults, weight_decay, weight_decay_form, cautious, maximize)

    def init_matrix(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """B_0 = 0."""
        state["B"] = torch.zeros_like(p)

    def update_matrix(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        B = state["B"].lerp_(g, 1 - h["momentum"])
        M = (g.lerp(B, h["momentum"]) if h["nesterov"] else B).flatten(1)
        orthogonal = newton_schulz(M.to(NS_DTYPES[h["ns_dtype"]]), h["ns_steps"], h["ns_coefficients"], h["eps"])
        c = step_scale(h["adjust_lr"], *M.shape)
        p.add_(orthogonal.reshape(p.shape).to(p.dtype), alpha=-h["lr"] * c)

    def update_vector(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of AdamW, whose eps is `adam_eps`."""
        super().update_vector(p, g, state, {**h, "eps": h["adam_eps"]})


def step_scale(adjust_lr: str, rows: int, columns: int) -> float:
    """c: how much longer than its orthogonal factor the step of a matrix of this shape is."""
    if adjust_lr == "original":
        return math.sqrt(max(1, rows / max(1, columns)))
    return 0.2 * math.sqrt(max(rows, columns))


def newton_schulz(M: Tensor, steps: int, coefficients: Sequence[float], eps: float) -> Tensor:
    """U phi(S) V^T of the matrix M = U S V^T, by products of matrices alone, where phi drives every s > 0 towards 1.

    X_0 = M / max(|M|, eps)                           Frobenius' norm, so that S <= 1
    X_k = a X + (b A + c A A) X,   A = X X^T          so that s_k = a s + b s^3 + c s^5,   X = X_{k-1}
    """
    a, b, c = coefficients
    upright = M.shape[0] > M.shape[1]  # of X X^T and X^T X the smaller one will do
    X = M.T if upright else M
    X = X / X.norm().clamp(min=eps)
    for _ in range(steps):
        A = X @ X.T
        X = torch.addmm(X, torch.addmm(A, A, A, beta=b, alpha=c), X, beta=a)
    return X.T if upright else X
