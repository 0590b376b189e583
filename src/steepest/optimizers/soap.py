"""SOAP."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steepest.optimizers.matrix_rule import MatrixRule, along, eigh, outer
from steepest.optimizers.rule import Hyperparameters, State, at_least, fractions


class SOAP(MatrixRule):
    """SOAP: Adam in the eigenbasis of Shampoo's factors. Vyas et al. 2024, arXiv:2409.11321, Algorithm 3.

        M_t = b1 M_{t-1} + (1 - b1) G_t
        G' = Q_L^T G_t Q_R,   M' = Q_L^T M_t Q_R
        V_t = b2 V_{t-1} + (1 - b2) G'^2
        x_t = x_{t-1} - lr Q_L (M' / (sqrt(V_t) + eps)) Q_R^T
        L_t = b L_{t-1} + (1 - b) G_t G_t^T,   R_t = b R_{t-1} + (1 - b) G_t^T G_t,   b = shampoo_beta, or b2 if null
        Q_L, Q_R = refreshed(Q_L, L_t), refreshed(Q_R, R_t)        after every `every`-th move

    As in the authors' code, the first step only measures: L_1 and R_1 and their eigenvectors; then lr is multiplied by
    Adam's bias correction sqrt(1 - b2^s) / (1 - b1^s) after s = t - 1 moves, eps stays outside of it, and V follows its
    basis when that is sorted anew. Weight decay is not in Algorithm 3. Here it comes before the move, as in torch's
    AdamW, and in the first step too; in the authors' code after the move.

    A tensor of k dimensions has a basis for each; a side longer than `max_dim` keeps its own axes, and with all sides
    so this is Adam. Vectors, and what else is not seen as a matrix, go to AdamW, and move from the first step on.
    """

    twin = "pytorch_optimizer.SOAP"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.95, 0.95),
        shampoo_beta: float | None = None,
        eps: float = 1e-8,
        every: int = 10,
        max_dim: int = 10000,
        bias_correction: bool = True,
        matrix: bool = True,
        weight_decay: float = 0.01,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(betas=betas, shampoo_beta=0.0 if shampoo_beta is None else shampoo_beta)
        at_least(0.0, eps=eps, max_dim=max_dim)
        at_least(1, every=every)
        defaults = {
            "lr": lr,
            "betas": list(betas),
            "shampoo_beta": shampoo_beta,
            "eps": eps,
            "every": every,
            "max_dim": max_dim,
            "bias_correction": bias_correction,
            "matrix": matrix,
        }
        super().__init__(params, defaults, weight_decay, weight_decay_form, cautious, maximize)

    def init_matrix(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """M_0 = 0, V_0 = 0; L_0 = 0 and Q_0 = I for each side that has a basis."""
        state["M"], state["V"] = torch.zeros_like(p), torch.zeros_like(p)
        for i, n in enumerate(p.shape):
            if n <= h["max_dim"]:
                state[f"L{i}"] = p.new_zeros(n, n)
                state[f"Q{i}"] = torch.eye(n, dtype=p.dtype, device=p.device)

    def update_matrix(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        lr, (b1, b2), s = h["lr"], h["betas"], state["step"] - 1
        if s > 0:
            M = state["M"].lerp_(g, 1 - b1)
            V = state["V"].lerp_(rotated(g, state).square(), 1 - b2)
            step = rotated(rotated(M, state) / V.sqrt().add_(h["eps"]), state, back=True)
            p.add_(step, alpha=-lr * ((1 - b2**s) ** 0.5 / (1 - b1**s) if h["bias_correction"] else 1.0))
        for i in sides(state, p.dim()):
            state[f"L{i}"].lerp_(outer(g, i), 1 - (b2 if h["shampoo_beta"] is None else h["shampoo_beta"]))
            if s == 0:
                state[f"Q{i}"] = eigh(state[f"L{i}"])[1].flip(1)  # the greatest eigenvalue first
            elif s % h["every"] == 0:
                state[f"Q{i}"], order = refreshed(state[f"Q{i}"], state[f"L{i}"])
                state["V"] = state["V"].index_select(i, order)


def sides(state: State, k: int) -> list[int]:
    """The dimensions that have a basis."""
    return [i for i in range(k) if f"Q{i}" in state]


def rotated(x: Tensor, state: State, back: bool = False) -> Tensor:
    """Q_L^T X Q_R, for tensors of any number of dimensions; `back` is its inverse, Q_L X Q_R^T."""
    for i in sides(state, x.dim()):
        q = state[f"Q{i}"]
        x = along(x, i, q if back else q.T)
    return x


def refreshed(q: Tensor, L: Tensor) -> tuple[Tensor, Tensor]:
    """The eigenvectors Q of L after one power iteration, and the order they were put into: Algorithm 4.

    Q's columns are sorted by the estimates diag(Q^T L Q), the greatest first; then L Q is made orthogonal by QR.
    """
    Lq = L @ q
    order = (q * Lq).sum(0).argsort(descending=True)
    return torch.linalg.qr(Lq[:, order])[0], order
