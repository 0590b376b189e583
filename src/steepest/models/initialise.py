"""Initial weights of the convolutional networks."""

from torch import nn


def he_normal_(network: nn.Module) -> None:
    """Draw convolutions and head of a ReLU network, in place.

    Convolutions: N(0, 2 / fan_out). He et al. 2015, Delving Deep into Rectifiers, arXiv:1502.01852, equation 14.
    Linear head: N(0, 0.01^2). Goyal et al. 2017, arXiv:1706.02677, section 5.1. Biases: 0.
    Batch norm keeps gamma = 1 and beta = 0. Ioffe & Szegedy 2015, arXiv:1502.03167.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
