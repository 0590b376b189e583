"""An LSTM that classifies texts."""

import torch
from torch import Tensor, nn

from steepest.models import checks
from steepest.models.recurrent import initialise_lstm_
from steepest.models.text import PADDING, pooled, reversed_texts

POOLINGS = ("max", "mean")


class TextLSTM(nn.Module):
    """Long short-term memory over the tokens of a text; the maximum or the mean of its outputs is classified.

    Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000; both ways as in Graves & Schmidhuber 2005; maximum
    over time as in Conneau et al. 2017, arXiv:1705.02364. Padding (token 0) at the end of a text changes nothing: the
    way back begins at the text's last token.

    Args:
        vocab_size: number of tokens, from the dataset; token 0 is padding.
        num_classes: number of logits, from the dataset.
        embedding: width of a token.
        hidden: width of the hidden state, of each direction.
        layers: stacked LSTMs.
        bidirectional: whether each layer also reads backwards.
        pooling: max, or mean.
        dropout: probability in [0, 1) of zeroing a unit in training: after the embedding, between layers and before
            the head, never along time (Zaremba et al. 2014, arXiv:1409.2329).
        forget_bias: initial bias of the forget gates (Jozefowicz et al. 2015: 1 keeps the memory open).

    Initial weights: tokens N(0, 0.1^2), padding 0; LSTMs as `initialise_lstm_` says; head Glorot uniform (Glorot &
    Bengio 2010), its biases 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        num_classes: int,
        embedding: int = 128,
        hidden: int = 128,
        layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "max",
        dropout: float = 0.2,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        checks.whole("embedding", embedding)
        checks.whole("hidden", hidden)
        checks.whole("layers", layers)
        checks.finite("forget_bias", forget_bias)
        self.pooling = checks.choice("pooling", pooling, POOLINGS)
        directions = 2 if checks.flag("bidirectional", bidirectional) else 1
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PADDING)
        self.dropout = nn.Dropout(checks.probability("dropout", dropout))
        self.layers = nn.ModuleList(
            nn.ModuleList(
                nn.LSTM(directions * hidden if layer else embedding, hidden, batch_first=True)
                for _ in range(directions)
            )
            for layer in range(layers)
        )
        self.head = nn.Linear(directions * hidden, num_classes)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.zeros_(self.embedding.weight[PADDING])
        for lstm in self.modules():
            if isinstance(lstm, nn.LSTM):
                initialise_lstm_(lstm, forget_bias)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Texts, int64 [B, T], to logits [B, num_classes]."""
        real = tokens != PADDING
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        lengths = (real * places).amax(1)
        x = self.embedding(tokens)
        for ways in self.layers:
            assert isinstance(ways, nn.ModuleList)
            x = self.dropout(x)
            outputs = [ways[0](x)[0]]
            if len(ways) > 1:
                outputs.append(reversed_texts(ways[1](reversed_texts(x, lengths))[0], lengths))
            x = torch.cat(outputs, -1)
        return self.head(self.dropout(pooled(x, real, self.pooling)))
