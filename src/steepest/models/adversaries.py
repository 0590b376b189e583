"""What generator-discriminator models share."""

from collections.abc import Sequence

from torch import nn
from torch.nn.utils import parametrizations

from steepest.errors import ConfigError
from steepest.models import checks

LEAST_SIDE = 8


class Adversaries(nn.Module):
    """A generator and a discriminator.

    Args:
        generator: maps latent vectors [B, latent_dim], drawn from N(0, I), to images [B, C, H, W] in [-1, 1].
        discriminator: maps such images to logits [B], large where it takes them for real.
        latent_dim: size of a latent vector.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.generator, self.discriminator, self.latent_dim = generator, discriminator, latent_dim


def square_image(model: str, input_shape: Sequence[int]) -> tuple[int, int]:
    """(channels, side in px) of the square images that `model` is to make.

    Raises:
        ConfigError: they are not square, or smaller than 8 x 8 px.
    """
    channels, height, width = checks.image_shape(model, input_shape, num_classes=2, min_side=LEAST_SIDE)
    if height != width:
        raise ConfigError(f"model={model} makes square images, but the dataset's are {height} x {width} px.")
    return channels, height


def halvings(side: int) -> list[int]:
    """The sides in px from an image down to its smallest map, each half of the one before, rounded up.

    It is halved until it has 4 px at most, and twice at least: 28, 14, 7, 4 or 8, 4, 2.
    """
    sides = [side]
    while sides[-1] > 4 or len(sides) < 3:
        sides.append(-(-sides[-1] // 2))
    return sides


def normalise_spectrum(network: nn.Module) -> None:
    """Divide the weight of every convolution and linear layer by its largest singular value, in place.

    Miyato et al. 2018, arXiv:1802.05957: of the weight as a matrix [outputs, rest], by one power iteration for each
    forward pass in training. The weight trained is `parametrizations.weight.original`.
    """
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parametrizations.spectral_norm(layer)
