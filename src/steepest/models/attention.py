"""Attention of the transformers for sequences of tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PLAIN_UP_TO = 512
"""Positions up to which a CPU computes the formula in bfloat16 as it stands: forwards and backwards torch's fused
kernel for CPUs takes 7 times as long at 64 positions and 2.3 times at 512; in float32 the two are alike."""


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product self-attention. Vaswani et al. 2017, arXiv:1706.03762, section 3.2.

        Attention(Q, K, V) = softmax(Q K^T / sqrt(d)) V,   d = dim / heads

    Args:
        dim: width of a token, a multiple of `heads`.
        heads: attention heads.
        causal: a position sees itself and what is before it, and nothing after it.
        bias: whether the two linear layers have one.
        dropout: probability of zeroing an attention weight in training.
        rotary: turns queries and keys by their positions; None: they do not depend on these.
    """

    def __init__(
        self, dim: int, heads: int, *, causal: bool, bias: bool, dropout: float, rotary: "Rotary | None" = None
    ) -> None:
        super().__init__()
        self.heads, self.causal, self.dropout, self.rotary = heads, causal, dropout, rotary
        self.queries_keys_values = nn.Linear(dim, 3 * dim, bias=bias)
        self.out = nn.Linear(dim, dim, bias=bias)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens [B, T, dim] to [B, T, dim]; of `seen`, bool [B, T], those that are False are seen by none."""
        batch, length, dim = x.shape
        split = self.queries_keys_values(x).view(batch, length, 3, self.heads, dim // self.heads)
        if self.rotary is None:
            q, k, v = split.unbind(2)
        else:
            queries_keys, values = split.split([2, 1], 2)
            q, k = self.rotary(queries_keys).unbind(2)
            v = values.squeeze(2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # [B, heads, T, d] each
        dropout = self.dropout if self.training else 0.0
        return self.out(attention(q, k, v, self.causal, seen, dropout).transpose(1, 2).reshape(batch, length, dim))


class Rotary(nn.Module):
    """Rotary position embedding. Su et al. 2021, RoFormer, arXiv:2104.09864, equation 34.

    Position t turns the pair (x_2i, x_2i+1) of a query or a key, as a complex number, by the angle t base^(-2i / d), so
    that the product of a query and a key depends on how far they stand from each other.

    Args:
        width: of a head (d), even.
        context_length: positions that there are.
        base: 10,000 in the paper.
    """

    turns: Tensor
    """Cosine and sine of each angle, [context_length, d / 2, 2]."""

    def __init__(self, width: int, context_length: int, base: float = 10_000.0) -> None:
        super().__init__()
        frequencies = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angles = torch.outer(torch.arange(context_length, dtype=torch.float64), frequencies)
        # Real, since a module's casts would turn a complex table into its real part.
        self.register_buffer("turns", torch.stack([angles.cos(), angles.sin()], -1).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Queries and keys [B, T, 2, heads, d] turned by their positions 0 to T - 1."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)))  # [B, T, 2, heads, d / 2]
        turns = torch.view_as_complex(self.turns[: x.shape[1]].to(wide.dtype))[:, None, None]
        return torch.view_as_real(pairs * turns).flatten(-2).type_as(x)


def attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, each [B, heads, T, d]; `seen`, bool [B, T], are the keys that count, None: all.

    Every position must have a key that it sees.
    """
    length = q.shape[-2]
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and length <= PLAIN_UP_TO:
        return plain_attention(q, k, v, causal, seen, dropout)
    if seen is None:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)
    mask = seen[:, None, None]
    if causal:
        mask = mask & torch.ones(length, length, dtype=torch.bool, device=q.device).tril()
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def plain_attention(
    q: Tensor, k: Tensor, v: Tensor, causal: bool, seen: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """`attention` by three products and a softmax."""
    batch, heads, length, width = q.shape
    hidden = q.new_zeros(1, 1, 1)  # added to the products: minus infinity where a key must not be seen
    if causal:
        hidden = q.new_full((1, length, length), -math.inf).triu(1)
    if seen is not None:
        unseen = torch.zeros_like(seen, dtype=q.dtype).masked_fill(~seen, -math.inf)  # [B, T]
        hidden = hidden + unseen.repeat_interleave(heads, 0)[:, None]
    q, k, v = (x.reshape(batch * heads, length, width) for x in (q, k, v))
    weights = torch.baddbmm(hidden, q, k.transpose(1, 2), alpha=1 / math.sqrt(width)).softmax(-1)
    if dropout:
        weights = F.dropout(weights, dropout)
    return (weights.type_as(v) @ v).view(batch, heads, length, width)
