"""GPT."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from steepest.errors import ConfigError
from steepest.models import checks
from steepest.models.attention import Rotary
from steepest.models.transformer import Block, initialise_, require_heads

POSITIONS = ("learned", "rotary")


class GPT(nn.Module):
    """Decoder-only transformer for language modelling. Radford et al. 2019 (GPT-2).

    A table of tokens and, where positions are learned, one of positions; pre-norm blocks of causal attention and an
    MLP with GELU; a last layer norm; logits by the transposed table of tokens, or one of their own.

    Args:
        vocab_size: number of tokens, from the dataset.
        context_length: the longest sequence, from the dataset.
        dim: width of a token, a multiple of `heads`.
        depth: blocks.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP over `dim`, rounded; 4 in GPT-2.
        positions: learned (a vector for each), or rotary (Su et al. 2021, arXiv:2104.09864).
        tied: logits and tokens share one table (Press and Wolf 2017, arXiv:1608.05859).
        bias: whether linear layers and layer norms have one, as in GPT-2.
        dropout: probability in [0, 1) of zeroing a unit in training, after embedding, attention and MLP.
        attention_dropout: the same for attention weights.

    Initial weights are GPT-2's: see `initialise_`; positions N(0, 0.02^2). Of `dim` 768, depth 12 and 12 heads, for
    50,257 tokens and 1,024 positions, it is GPT-2 small with its 124,439,808 parameters. Second derivatives need
    torch's plain attention where sequences are long or the device is no CPU: `sdpa_kernel(SDPBackend.MATH)` chooses
    it. Wrong values raise `ConfigError`.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("norm", "bias")
    """Kinds of parameters that no weight decay should act on, as usual for transformers."""

    def __init__(
        self,
        *,
        vocab_size: int,
        context_length: int,
        dim: int = 128,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        positions: str = "learned",
        tied: bool = True,
        bias: bool = True,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_heads(dim, heads)
        checks.whole("depth", depth)
        checks.choice("positions", positions, POSITIONS)
        checks.flag("tied", tied)
        checks.flag("bias", bias)
        rotary = positions == "rotary"
        if rotary and dim // heads % 2:
            raise ConfigError(
                f"model.positions=rotary turns pairs, but a head of model.dim={dim} and model.heads={heads} is "
                f"{dim // heads} wide; allowed is an even width."
            )
        self.context_length = context_length
        self.embedding = nn.Embedding(vocab_size, dim)
        self.positions = None if rotary else nn.Parameter(torch.empty(context_length, dim))
        self.dropout = nn.Dropout(checks.probability("dropout", dropout))
        turn = Rotary(dim // heads, context_length) if rotary else None
        self.blocks = nn.ModuleList(
            Block(
                dim,
                heads,
                max(1, round(dim * checks.positive("mlp_ratio", mlp_ratio))),
                causal=True,
                bias=bias,
                dropout=dropout,
                attention_dropout=checks.probability("attention_dropout", attention_dropout),
                rotary=turn,
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, bias=bias)
        self.head = nn.Linear(dim, vocab_size, bias=False)
        initialise_(self, depth)
        if self.positions is not None:
            nn.init.normal_(self.positions, std=0.02)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens, int64 [B, T], T up to `context_length`, to logits [B, T, vocab_size] of those that come next."""
        return self.head(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """What the logits are linear in: [B, T, dim]."""
        if tokens.shape[1] > self.context_length:
            raise ValueError(f"{tokens.shape[1]} tokens exceed the model's context of {self.context_length}")
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions[: tokens.shape[1]]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)
