"""A transformer that classifies texts."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from steepest.models import checks
from steepest.models.text import PADDING, pooled
from steepest.models.transformer import Block, initialise_, require_heads

POOLINGS = ("mean", "class_token")


class TextTransformer(nn.Module):
    """Transformer encoder over the tokens of a text, for its class. Vaswani et al. 2017; Devlin et al. 2019 (BERT).

    Tables of tokens and of positions; pre-norm blocks of attention and an MLP with GELU; a last layer norm; the mean
    over the text's tokens, or what became of a class token before them, is classified. Padding (token 0) at the end
    of a text is seen by none and changes nothing.

    Args:
        vocab_size: number of tokens, from the dataset; token 0 is padding.
        context_length: the longest text in tokens, from the dataset.
        num_classes: number of logits, from the dataset.
        dim: width of a token, a multiple of `heads`.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP over `dim`, rounded; 4 in the paper.
        pooling: mean, or class_token.
        dropout: probability in [0, 1) of zeroing a unit in training, after embedding, attention and MLP and before
            the head.
        attention_dropout: the same for attention weights.

    Initial weights are GPT-2's: see `initialise_`; positions and class token N(0, 0.02^2). Second derivatives need
    torch's plain attention where texts are long or the device is no CPU: `sdpa_kernel(SDPBackend.MATH)` chooses it.
    Wrong values raise `ConfigError`.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("norm", "bias")
    """Kinds of parameters that no weight decay should act on, as usual for transformers."""

    def __init__(
        self,
        *,
        vocab_size: int,
        context_length: int,
        num_classes: int,
        dim: int = 128,
        depth: int = 2,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        pooling: str = "mean",
        dropout: float = 0.1,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_heads(dim, heads)
        hidden = max(1, round(dim * checks.positive("mlp_ratio", mlp_ratio)))
        checks.probability("attention_dropout", attention_dropout)
        self.embedding = nn.Embedding(vocab_size, dim, padding_idx=PADDING)
        self.positions = nn.Parameter(torch.empty(context_length, dim))
        by_token = checks.choice("pooling", pooling, POOLINGS) == "class_token"
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if by_token else None
        self.dropout = nn.Dropout(checks.probability("dropout", dropout))
        self.blocks = nn.ModuleList(
            Block(dim, heads, hidden, causal=False, dropout=dropout, attention_dropout=attention_dropout)
            for _ in range(checks.whole("depth", depth))
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        initialise_(self, depth)
        for table in (self.positions, self.class_token):
            if table is not None:
                nn.init.normal_(table, std=0.02)

    def forward(self, tokens: Tensor) -> Tensor:
        """Texts, int64 [B, T], T up to `context_length`, to logits [B, num_classes]."""
        real = tokens != PADDING
        x = self.embedding(tokens) + self.positions[: tokens.shape[1]]
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], 1)
        x, seen = self.dropout(x), some_seen(real, self.class_token is not None)
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        x = x[:, 0] if self.class_token is not None else pooled(x, real, "mean")
        return self.head(self.dropout(x))


def some_seen(real: Tensor, class_token: bool) -> Tensor:
    """Which positions are seen, bool [B, T or T + 1]: real ones, and the first, for texts without any word."""
    return torch.cat([torch.ones_like(real[:, :1]), real if class_token else real[:, 1:]], 1)
