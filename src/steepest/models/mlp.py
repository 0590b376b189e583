"""Multilayer perceptron."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from steepest.models import checks

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}


class MLP(nn.Module):
    """Fully connected network on the pixels. Goodfellow et al. 2016, Deep Learning, chapter 6.

        h_0 = vec(x),   h_l = dropout(activation(batch_norm(W_l h_{l-1} + b_l))),   logits = W h_L + b

    Args:
        input_shape: (C, H, W) of one image, from the dataset.
        num_classes: number of logits, from the dataset.
        hidden: width of every hidden layer, at least one.
        activation: relu, gelu or tanh.
        dropout: probability in [0, 1) of zeroing a hidden unit in training.
        batch_norm: normalise before the activation (Ioffe & Szegedy 2015, arXiv:1502.03167); b_l, which it would
            cancel, is then left out. A training batch needs at least 2 examples.

    Initial weights: relu and gelu N(0, 2 / fan_in) (He et al. 2015, arXiv:1502.01852, equation 10); tanh and the
    output layer Glorot uniform (Glorot & Bengio 2010, equation 16); biases 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        hidden: Sequence[int] = (128, 128),
        activation: str = "relu",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        channels, height, width = checks.image_shape("mlp", input_shape, num_classes)
        sizes = [channels * height * width, *checks.widths("hidden", hidden)]
        activation = checks.choice("activation", activation, ACTIVATIONS)
        checks.probability("dropout", dropout)
        checks.flag("batch_norm", batch_norm)
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes):
            layers.append(_linear(fan_in, fan_out, rectified=activation != "tanh", bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(fan_out))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, _linear(sizes[-1], num_classes, rectified=False, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        return self.layers(x.flatten(1))


def _linear(fan_in: int, fan_out: int, rectified: bool, bias: bool) -> nn.Linear:
    layer = nn.Linear(fan_in, fan_out, bias=bias)
    if rectified:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    else:
        nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
