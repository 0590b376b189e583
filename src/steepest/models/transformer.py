"""What the transformers for sequences of tokens are made of."""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from steepest.errors import ConfigError
from steepest.models import checks
from steepest.models.attention import Rotary, SelfAttention


class Block(nn.Module):
    """A pre-norm transformer block: Xiong et al. 2020, arXiv:2002.04745, and GPT-2.

        x <- x + Attention(LayerNorm(x))
        x <- x + W_2 GELU(W_1 LayerNorm(x))

    Args:
        dim: width of a token.
        heads: attention heads, a divisor of `dim`.
        hidden: width between W_1 and W_2.
        causal: a position does not see those after it.
        bias: whether linear layers and layer norms have one.
        dropout: probability of zeroing a unit of what is added to x, in training.
        attention_dropout: the same for attention weights.
        rotary: turns queries and keys by their positions.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        *,
        causal: bool,
        bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        rotary: Rotary | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, bias=bias)
        self.attention = SelfAttention(dim, heads, causal=causal, bias=bias, dropout=attention_dropout, rotary=rotary)
        self.norm2 = nn.LayerNorm(dim, bias=bias)
        self.first = nn.Linear(dim, hidden, bias=bias)
        self.last = nn.Linear(hidden, dim, bias=bias)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, seen: Tensor | None = None) -> Tensor:
        """Tokens [B, T, dim] to [B, T, dim]; of `seen`, bool [B, T], those that are False are seen by none."""
        x = x + self.dropout(self.attention(self.norm1(x), seen))
        return x + self.dropout(self.last(F.gelu(self.first(self.norm2(x)))))


def initialise_(network: nn.Module, depth: int, std: float = 0.02) -> None:
    """Draw the weights of a transformer as GPT-2 does, in place. Radford et al. 2019, section 2.3.

    Weights of linear layers and embeddings N(0, std^2), but those of the two layers of each block whose outputs are
    added to the residual stream N(0, std^2 / (2 depth)); the row of padding and biases 0.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Embedding):
            nn.init.normal_(layer.weight, std=std)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if isinstance(layer, nn.Embedding) and layer.padding_idx is not None:
            nn.init.zeros_(layer.weight[layer.padding_idx])
    for layer in network.modules():
        if isinstance(layer, Block):
            for last in (layer.attention.out.weight, layer.last.weight):
                nn.init.normal_(last, std=std / math.sqrt(2 * depth))


def require_heads(dim: int, heads: int) -> None:
    """Raise ConfigError unless `heads` heads share a width of `dim`."""
    if checks.whole("dim", dim) % checks.whole("heads", heads):
        raise ConfigError(f"model.heads={heads} must divide model.dim={dim}.")
