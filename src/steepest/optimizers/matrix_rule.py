"""The base of the rules that see a matrix as a matrix, and what they share."""

import contextlib
from typing import ClassVar

import torch
from torch import Tensor

from steepest.optimizers.adamw import AdamW
from steepest.optimizers.rule import Hyperparameters, Rule, State


class MatrixRule(Rule):
    """Two rules in one: its own for matrices, and an element rule for all that is none.

    A tensor of 2 or more dimensions is a matrix, and one of 0 or 1 dimension a vector; so is every tensor of a
    parameter group with `matrix=false`, as embeddings and output layers often are. Both obey the group's lr and weight
    decay. A subclass has `init_matrix` and `update_matrix`, and where its vectors do not go to `vector_rule`,
    `init_vector` and `update_vector` too.
    """

    reach = "matrix"
    vector_rule: ClassVar[type[Rule]] = AdamW
    """Whose `init` and `update` the vectors go to; these are formulas of their arguments alone."""

    def init_matrix(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """As `Rule.init`, for a tensor of 2 or more dimensions."""
        raise NotImplementedError

    def update_matrix(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """As `Rule.update`, for a tensor of 2 or more dimensions."""
        raise NotImplementedError

    def init_vector(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """As `Rule.init`, for a tensor that is not seen as a matrix."""
        self.vector_rule.init(self, p, state, h)

    def update_vector(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """As `Rule.update`, for a tensor that is not seen as a matrix."""
        self.vector_rule.update(self, p, g, state, h)

    @staticmethod
    def treats_as_matrix(p: Tensor, h: Hyperparameters) -> bool:
        """Whether a parameter of a group with these values goes to the matrix rule, and not to the element rule."""
        return bool(p.dim() >= 2 and h["matrix"])

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """The state of the rule that the parameter goes to."""
        (self.init_matrix if self.treats_as_matrix(p, h) else self.init_vector)(p, state, h)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the rule that the parameter goes to."""
        (self.update_matrix if self.treats_as_matrix(p, h) else self.update_vector)(p, g, state, h)


def outer(g: Tensor, i: int) -> Tensor:
    """G_(i) G_(i)^T, shape (n_i, n_i): the products of slices along dimension i, summed over all other dimensions."""
    unfolded = g.movedim(i, 0).flatten(1)
    return unfolded @ unfolded.T


def along(x: Tensor, i: int, a: Tensor) -> Tensor:
    """The matrix `a`, shape (k, n_i), times every fibre of `x` along dimension i: A X for i=0, X A^T for i=1."""
    return torch.tensordot(a, x, dims=([1], [i])).movedim(0, i)


def eigh(a: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, the least first, and eigenvectors of a symmetric matrix.

    All NaN where `a` has none because it is not finite: a diverged run is seen by its weights, and does not crash.
    """
    for dtype in (a.dtype, torch.float64):
        with contextlib.suppress(torch.linalg.LinAlgError):
            eigenvalues, q = torch.linalg.eigh(a.to(dtype))
            return eigenvalues.to(a.dtype), q.to(a.dtype)
    return a.new_full((len(a),), torch.nan), torch.full_like(a, torch.nan)
