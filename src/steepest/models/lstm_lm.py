"""An LSTM for language modelling."""

from itertools import pairwise

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.recurrent import initialise_lstm_


class LSTMLanguageModel(nn.Module):
    """Long short-term memory that predicts the next token at every position. Zaremba et al. 2014, arXiv:1409.2329.

    Table of tokens, stacked LSTMs, logits by the transposed table (Press and Wolf 2017, arXiv:1608.05859; Inan et al.
    2017) or one of their own. Where the widths of tokens and state differ, a tied model's last LSTM is as wide as a
    token, as in Merity et al. 2018, arXiv:1708.02182. Every sequence begins with a state of 0.

    Args:
        vocab_size: number of tokens, from the dataset.
        embedding: width of a token.
        hidden: width of the hidden state.
        layers: stacked LSTMs.
        tied: logits and tokens share one table.
        dropout: probability in [0, 1) of zeroing a unit in training: after the embedding, between layers and before
            the head, never along time.
        forget_bias: initial bias of the forget gates (Jozefowicz et al. 2015: 1 keeps the memory open).

    Initial weights: tokens, and the head where it is not tied, uniform in [-0.1, 0.1]; LSTMs as `initialise_lstm_`
    says; biases of the head 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        embedding: int = 200,
        hidden: int = 200,
        layers: int = 2,
        tied: bool = True,
        dropout: float = 0.2,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        checks.whole("embedding", embedding)
        checks.whole("hidden", hidden)
        checks.whole("layers", layers)
        checks.flag("tied", tied)
        checks.finite("forget_bias", forget_bias)
        widths = [embedding] + [hidden] * layers
        if tied:
            widths[-1] = embedding
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.layers = nn.ModuleList(nn.LSTM(before, after, batch_first=True) for before, after in pairwise(widths))
        self.dropout = nn.Dropout(checks.probability("dropout", dropout))
        self.head = nn.Linear(widths[-1], vocab_size)
        for table in (self.embedding, self.head):
            nn.init.uniform_(table.weight, -0.1, 0.1)
        nn.init.zeros_(self.head.bias)
        for lstm in self.modules():
            if isinstance(lstm, nn.LSTM):
                initialise_lstm_(lstm, forget_bias)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens, int64 [B, T], to logits [B, T, vocab_size] of those that come next."""
        return self.head(self.features(tokens))

    def features(self, tokens: Tensor) -> Tensor:
        """What the logits are linear in: [B, T, width]."""
        x = self.dropout(self.embedding(tokens))
        for lstm in self.layers:
            x = self.dropout(lstm(x)[0])
        return x
