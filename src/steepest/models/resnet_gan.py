"""Residual generator and discriminator."""

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from steepest.models import checks
from steepest.models.adversaries import Adversaries, halvings, normalise_spectrum, square_image


class ResNetGAN(Adversaries):
    """The residual networks of SNGAN, for square images of any size. Miyato et al. 2018, arXiv:1802.05957, table 4.

    The generator projects the latent vector to the smallest map, and its blocks double that; batch norm, ReLU, a 3x3
    convolution and tanh make the image. The discriminator's blocks halve the image to twice the smallest map, two
    blocks more keep its size, then ReLU, the sum over all pixels and a linear layer.

    Args:
        input_shape: (C, S, S) of one image, from the dataset; at least 8 x 8 px.
        latent_dim: size of a latent vector; 128 in the paper.
        width: channels of the discriminator; the generator has twice as many. The paper has 128.
        batch_norm: batch norm in the generator.
        spectral_norm: divide the discriminator's weights by their largest singular values.

    An image is halved until it has 4 px at most, and twice at least. Initial weights: Glorot uniform (Glorot & Bengio
    2010), with gain sqrt(2) inside of blocks as in the authors' code; biases 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: int = 128,
        width: int = 64,
        batch_norm: bool = True,
        spectral_norm: bool = True,
    ) -> None:
        channels, side = square_image("resnet_gan", input_shape)
        sides, width, normalised = halvings(side), checks.whole("width", width), checks.flag("batch_norm", batch_norm)
        super().__init__(
            Generator(checks.whole("latent_dim", latent_dim), channels, 2 * width, sides, normalised),
            Discriminator(channels, width, sides),
            latent_dim,
        )
        if checks.flag("spectral_norm", spectral_norm):
            normalise_spectrum(self.discriminator)


class Generator(nn.Sequential):
    """Latent vectors [B, latent_dim] to images [B, C, S, S] in [-1, 1]; `sides` go from S to the smallest map."""

    def __init__(self, latent_dim: int, channels: int, width: int, sides: Sequence[int], batch_norm: bool) -> None:
        smallest = (width, sides[-1], sides[-1])
        projection = nn.Linear(latent_dim, math.prod(smallest))
        draw(projection, 1.0)
        super().__init__(
            projection,
            nn.Unflatten(1, smallest),
            *(UpBlock(width, side, batch_norm) for side in reversed(sides[:-1])),
            norm(width, batch_norm),
            nn.ReLU(),
            convolution(width, channels, gain=1.0),
            nn.Tanh(),
        )


class Discriminator(nn.Module):
    """Images [B, C, S, S] to logits [B]; `sides` go from S to the smallest map of the generator."""

    def __init__(self, channels: int, width: int, sides: Sequence[int]) -> None:
        super().__init__()
        downs = len(sides) - 2
        self.blocks = nn.Sequential(
            DownBlock(channels, width, shrinks=True, first=True),
            *(DownBlock(width, width, shrinks=True) for _ in range(downs - 1)),
            *(DownBlock(width, width, shrinks=False) for _ in range(2)),
        )
        self.head = nn.Linear(width, 1)
        draw(self.head, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, S, S] to logits [B]."""
        return self.head(F.relu(self.blocks(x)).sum(dim=(2, 3))).flatten()


class UpBlock(nn.Module):
    """Residual block that doubles a map [B, width, S, S] to `side`; the shortcut is a 1x1 convolution of it."""

    def __init__(self, width: int, side: int, batch_norm: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            norm(width, batch_norm),
            nn.ReLU(),
            nn.Upsample(side),
            convolution(width, width, bias=not batch_norm),
            norm(width, batch_norm),
            nn.ReLU(),
            convolution(width, width),
        )
        # The convolution before the copying of pixels: the same result for a quarter of the work.
        self.shortcut = nn.Sequential(convolution(width, width, side=1, gain=1.0), nn.Upsample(side))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return self.residual(x) + self.shortcut(x)


class DownBlock(nn.Module):
    """Residual block without batch norm; one that `shrinks` halves the map by averages of 2x2 px.

    The first block of a network sees pixels, to which it applies no ReLU.
    """

    def __init__(self, before: int, after: int, *, shrinks: bool, first: bool = False) -> None:
        super().__init__()
        pool = [nn.AvgPool2d(2, ceil_mode=True)] if shrinks else []
        self.residual = nn.Sequential(
            *([] if first else [nn.ReLU()]),  # not in place: the shortcut needs the input
            convolution(before, after),
            nn.ReLU(),
            convolution(after, after),
            *pool,
        )
        # Averaging before the convolution: the same result for a quarter of the work.
        through = [*pool, convolution(before, after, side=1, gain=1.0)] if shrinks or before != after else []
        self.shortcut = nn.Sequential(*through)

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both ways."""
        return self.residual(x) + self.shortcut(x)


def norm(width: int, batch_norm: bool) -> nn.Module:
    """Batch norm, or nothing."""
    return nn.BatchNorm2d(width) if batch_norm else nn.Identity()


def convolution(before: int, after: int, side: int = 3, gain: float = math.sqrt(2), bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the map's size."""
    layer = nn.Conv2d(before, after, side, padding=side // 2, bias=bias)
    draw(layer, gain)
    return layer


def draw(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Glorot uniform weights, bias 0."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
