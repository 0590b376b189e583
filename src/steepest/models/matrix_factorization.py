"""Matrix factorisation."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from steepest.errors import ConfigError
from steepest.models import checks


class MatrixFactorization(nn.Module):
    """Factors and biases of users and items. Koren, Bell and Volinsky 2009, Computer 42(8), equation 4.

        r(u, i) = mu + b_u + b_i + q_i . p_u

    mu is the mean of the training part and stays fixed. A batch with sparse gradients costs a step as much as it has
    rows, however large the tables are; weight decay then acts lazily, on the rows that a batch touches.

    Args:
        field_sizes: users and items, from the dataset.
        base_output: mu, from the dataset.
        dim: length of p_u and q_i.
        init_std: standard deviation of the initial factors N(0, init_std^2); biases are 0.
        sparse: gradients as sparse tensors, which element-wise optimizers take.

    Wrong values raise `ConfigError`.
    """

    mean: Tensor

    def __init__(
        self,
        *,
        field_sizes: Sequence[int],
        base_output: float,
        dim: int = 32,
        init_std: float = 0.05,
        sparse: bool = True,
    ) -> None:
        super().__init__()
        if len(field_sizes) != 2:
            raise ConfigError(
                f"model=matrix_factorization needs two fields, users and items, but the dataset has {len(field_sizes)}."
            )
        checks.whole("dim", dim)
        checks.positive("init_std", init_std)
        checks.flag("sparse", sparse)
        users, items = field_sizes
        self.register_buffer("mean", torch.tensor(base_output, dtype=torch.get_default_dtype()))
        self.users, self.items = nn.Embedding(users, dim, sparse=sparse), nn.Embedding(items, dim, sparse=sparse)
        self.user_bias, self.item_bias = nn.Embedding(users, 1, sparse=sparse), nn.Embedding(items, 1, sparse=sparse)
        for factors in (self.users, self.items):
            nn.init.normal_(factors.weight, std=init_std)
        for bias in (self.user_bias, self.item_bias):
            nn.init.zeros_(bias.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of user and item, int64 [B, 2], to the predicted ratings [B]."""
        return self.with_norms(ids)[0]

    def with_norms(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """The predictions, and the sum of squares of all factors and biases that each uses: [B] each."""
        user, item = ids.unbind(1)
        p, q, b_u, b_i = self.users(user), self.items(item), self.user_bias(user), self.item_bias(item)
        rating = self.mean + b_u.squeeze(1) + b_i.squeeze(1) + (q * p).sum(1)
        return rating, torch.cat([p, q, b_u, b_i], dim=1).square().sum(1)
