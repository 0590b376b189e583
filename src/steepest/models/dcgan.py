"""Generator of transposed convolutions, discriminator of strided ones."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from steepest.models import checks
from steepest.models.adversaries import Adversaries, halvings, normalise_spectrum, square_image

SLOPE = 0.2  # of the leaky ReLU below 0


class DCGAN(Adversaries):
    """DCGAN for square images of any size and number of channels. Radford et al. 2015, arXiv:1511.06434.

    The generator projects the latent vector to the smallest map and doubles that by transposed convolutions, each
    with batch norm and ReLU; the last one is followed by tanh. The discriminator halves the image by convolutions of
    stride 2 with leaky ReLU (0.2), and ends with a linear layer.

    Args:
        input_shape: (C, S, S) of one image, from the dataset; at least 8 x 8 px.
        latent_dim: size of a latent vector; 100 in the paper.
        width: channels of the largest map inside of both networks, doubled with each halving of the image; the paper
            has 128.
        batch_norm: batch norm in the generator, behind all layers but the last.
        discriminator_batch_norm: in the discriminator, behind all layers but the first and the last. The paper has
            it; penalties of the gradient for each image go badly with it (Gulrajani et al. 2017, arXiv:1704.00028,
            section 4), since it ties the images of a batch together.
        spectral_norm: divide the discriminator's weights by their largest singular values (Miyato et al. 2018,
            arXiv:1802.05957); the paper does not.

    An image is halved until it has 4 px at most, and twice at least; where a side is odd, by a kernel of 3 instead of
    4 px. Initial weights: N(0, 0.02^2), batch norm's gamma N(1, 0.02^2), biases 0. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        latent_dim: int = 64,
        width: int = 32,
        batch_norm: bool = True,
        discriminator_batch_norm: bool = False,
        spectral_norm: bool = True,
    ) -> None:
        channels, side = square_image("dcgan", input_shape)
        sides, width = halvings(side), checks.whole("width", width)
        maps = [channels, *(width * 2**level for level in range(len(sides) - 1))]  # channels at each side
        normalised = checks.flag("batch_norm", batch_norm)
        discriminator_normalised = checks.flag("discriminator_batch_norm", discriminator_batch_norm)
        super().__init__(
            generator(checks.whole("latent_dim", latent_dim), maps, sides, normalised),
            discriminator(maps, sides, discriminator_normalised),
            latent_dim,
        )
        self.apply(initialise)
        if checks.flag("spectral_norm", spectral_norm):
            normalise_spectrum(self.discriminator)


def generator(latent_dim: int, maps: Sequence[int], sides: Sequence[int], batch_norm: bool) -> nn.Sequential:
    """Latent vectors to images; `maps` and `sides` are channels and px, from the image down to the smallest map."""
    smallest = (maps[-1], sides[-1], sides[-1])
    layers = [nn.Linear(latent_dim, maps[-1] * sides[-1] ** 2, bias=not batch_norm), nn.Unflatten(1, smallest)]
    for (before, after), side in zip(pairwise(reversed(maps)), reversed(sides[:-1]), strict=True):
        layers += [*([nn.BatchNorm2d(before)] if batch_norm else []), nn.ReLU()]
        last = side == sides[0]
        layers.append(nn.ConvTranspose2d(before, after, kernel(side), 2, 1, bias=last or not batch_norm))
    return nn.Sequential(*layers, nn.Tanh())


def discriminator(maps: Sequence[int], sides: Sequence[int], batch_norm: bool) -> nn.Sequential:
    """Images to logits; `maps` and `sides` are channels and px, from the image down to the smallest map."""
    layers: list[nn.Module] = []
    for (before, after), side in zip(pairwise(maps), sides[:-1], strict=True):
        normalised = batch_norm and side != sides[0]
        layers.append(nn.Conv2d(before, after, kernel(side), 2, 1, bias=not normalised))
        layers += [*([nn.BatchNorm2d(after)] if normalised else []), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(maps[-1] * sides[-1] ** 2, 1), nn.Flatten(0))


def kernel(side: int) -> int:
    """The kernel's side that takes an image of `side` px, with stride 2 and padding 1, to half of it, rounded up."""
    return 4 if side % 2 == 0 else 3


def initialise(layer: nn.Module) -> None:
    """Draw the weights of one layer, as the class says."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, std=0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1.0, std=0.02)
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
