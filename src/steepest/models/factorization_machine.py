"""Factorisation machine."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from steepest.errors import ConfigError, shown
from steepest.models import checks


class FactorizationMachine(nn.Module):
    """A linear model with an interaction of every two fields. Rendle 2010, ICDM, equations 1 and 5.

        y(x) = w_0 + sum_i w_i x_i + sum_{i<j} <v_i, v_j> x_i x_j
        sum_{i<j} <v_i, v_j> x_i x_j = 1/2 sum_f ((sum_i v_if x_i)^2 - sum_i v_if^2 x_i^2)

    The second form costs as much as there are fields, not pairs of them. Each field has one active row i, whose x_i is
    1. The rows of all fields stand in one table, one field after the other. A batch with sparse gradients costs a step
    as much as it has rows, however large the table is; weight decay then acts lazily, on the rows that a batch touches.

    Args:
        field_sizes: rows of each field, from the dataset; at least two fields.
        base_output: w_0 to begin with, from the dataset.
        dim: length of v_i.
        init_std: standard deviation of the initial v_i, N(0, init_std^2); w_i are 0.
        sparse: gradients as sparse tensors, which element-wise optimizers take.

    Wrong values raise `ConfigError`.
    """

    offsets: Tensor

    def __init__(
        self,
        *,
        field_sizes: Sequence[int],
        base_output: float,
        dim: int = 16,
        init_std: float = 0.01,
        sparse: bool = True,
    ) -> None:
        super().__init__()
        if len(field_sizes) < 2:
            raise ConfigError(
                f"model=factorization_machine needs two fields or more, but the dataset's are {shown(field_sizes)}."
            )
        checks.whole("dim", dim)
        checks.positive("init_std", init_std)
        checks.flag("sparse", sparse)
        *starts, rows = accumulate(field_sizes, initial=0)
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)
        self.bias = nn.Parameter(torch.tensor(float(base_output)))
        self.weights, self.factors = nn.Embedding(rows, 1, sparse=sparse), nn.Embedding(rows, dim, sparse=sparse)
        nn.init.zeros_(self.weights.weight)
        nn.init.normal_(self.factors.weight, std=init_std)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of each field, int64 [B, fields], to one number for each example, [B]."""
        return self.with_norms(ids)[0]

    def with_norms(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs, and the sum of squares of all weights and factors that each uses: [B] each."""
        rows = ids + self.offsets
        w, v = self.weights(rows).squeeze(2), self.factors(rows)
        squares = v.square().sum(1)
        pairs = (v.sum(1).square() - squares).sum(1) / 2
        return self.bias + w.sum(1) + pairs, squares.sum(1) + w.square().sum(1)
