"""Autoencoder."""

from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.mlp import ACTIVATIONS
from steepest.models.regressor import Regressor


class Autoencoder(nn.Module):
    """Gives back what it is given, through a code of few numbers. Hinton & Salakhutdinov 2006, Science 313, 504-507.

        code = encoder(x),   x' = decoder(code)

    Encoder and decoder are perceptrons, one the mirror of the other; code and output are linear.

    Args:
        input_shape: (C, H, W) of one image, from the dataset.
        code: numbers in a code.
        hidden: widths of the encoder's hidden layers; the decoder's are these backwards.
        activation: relu, gelu or tanh.

    Initial weights are those of `Regressor`. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        code: int = 8,
        hidden: Sequence[int] = (128, 64),
        activation: str = "relu",
    ) -> None:
        super().__init__()
        checks.whole("code", code)
        checks.choice("activation", activation, ACTIVATIONS)
        widths = checks.widths("hidden", hidden)
        self.encoder = Regressor(input_shape=input_shape, target_shape=[code], hidden=widths, activation=activation)
        self.decoder = Regressor(
            input_shape=[code], target_shape=input_shape, hidden=widths[::-1], activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to images of the same shape."""
        return self.decoder(self.encoder(x))
