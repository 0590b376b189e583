"""An LSTM that reads an image row by row."""

from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks


class LSTM(nn.Module):
    """Long short-term memory over the rows of the image, top to bottom; the last hidden state is classified.

    Hochreiter & Schmidhuber 1997; forget gate of Gers et al. 2000; rows as a sequence as in Le et al. 2015,
    arXiv:1504.00941 (there pixel by pixel). Step t reads row t of all channels, C * W numbers.

    Args:
        input_shape: (C, H, W) of one image, from the dataset.
        num_classes: number of logits, from the dataset.
        hidden: width of the hidden state.
        layers: stacked LSTMs.
        dropout: probability in [0, 1) of zeroing an output in training, between layers and before the head, never
            along time (Zaremba et al. 2014, arXiv:1409.2329).
        forget_bias: initial bias of the forget gates (Jozefowicz et al. 2015: 1 keeps the memory open).

    Initial weights: Glorot uniform from the input and to the head (Glorot & Bengio 2010), one orthogonal matrix a
    gate from state to state (Saxe et al. 2014, arXiv:1312.6120), other biases 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: int = 128,
        layers: int = 1,
        dropout: float = 0.0,
        forget_bias: float = 1.0,
    ) -> None:
        super().__init__()
        channels, _, width = checks.image_shape("lstm", input_shape, num_classes)
        checks.whole("hidden", hidden)
        checks.whole("layers", layers)
        checks.probability("dropout", dropout)
        checks.finite("forget_bias", forget_bias)
        # torch applies its own dropout between layers only, and warns where there is one layer.
        between = dropout if layers > 1 else 0.0
        self.lstm = nn.LSTM(channels * width, hidden, layers, dropout=between, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        self._initialise(forget_bias)

    def _initialise(self, forget_bias: float) -> None:
        for name, parameter in self.lstm.named_parameters():
            if name.startswith("bias"):
                nn.init.zeros_(parameter)
                continue
            draw = nn.init.orthogonal_ if name.startswith("weight_hh") else nn.init.xavier_uniform_
            for gate in parameter.chunk(4):  # torch's order: input, forget, cell, output
                draw(gate)
        for layer in range(self.lstm.num_layers):
            forget = getattr(self.lstm, f"bias_ih_l{layer}").chunk(4)[1]
            nn.init.constant_(forget, forget_bias)
        nn.init.xavier_uniform_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        rows = x.transpose(1, 2).flatten(2)  # [B, H, C * W]
        outputs, _ = self.lstm(rows)  # [B, H, hidden]
        return self.head(self.dropout(outputs[:, -1]))
