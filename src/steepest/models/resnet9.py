"""The nine-layer residual network of the DAWNBench speed record."""

from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.initialise import he_normal_


class ResNet9(nn.Module):
    """Wide and shallow: eight 3x3 convolutions and a linear layer, made to learn CIFAR-10 in a few epochs.

    Page 2018, How to Train Your ResNet (myrtle.ai), the network of part 4, with the order of part 8: a max pool comes
    right after its convolution, so that batch norm and ReLU work on a quarter of the pixels.

        stem      convolution to `width` channels
        stage 1   convolution to 2 `width`, pool, residual pair of convolutions
        stage 2   convolution to 4 `width`, pool
        stage 3   convolution to 8 `width`, pool, residual pair of convolutions
        head      max over all pixels, linear without bias, times `logit_scale`

    A convolution stands for one with batch norm (Ioffe & Szegedy 2015, arXiv:1502.03167) and ReLU; both come before
    the sum of a residual pair. A pool that would leave less than 1 px is left out: an image of 3 px keeps one.

    Args:
        input_shape: (C, H, W) of one image, from the dataset; at least 3 x 3 px.
        num_classes: number of logits, from the dataset.
        width: channels of the stem; 64 in the original, which has 6.6 million parameters, four times as many.
        logit_scale: constant factor of the logits; 0.125 in the original, which keeps them small at a high learning
            rate.

    Initial weights: convolutions as in `he_normal_`; head U(+-1 / sqrt(fan_in)), torch's own. Where the image ends as
    1 x 1, a training batch needs at least 2 examples. Wrong values raise `ConfigError`.
    """

    def __init__(
        self, *, input_shape: Sequence[int], num_classes: int, width: int = 32, logit_scale: float = 0.125
    ) -> None:
        super().__init__()
        channels, *sides = checks.image_shape("resnet9", input_shape, num_classes, min_side=3)
        w = checks.whole("width", width)
        self.logit_scale = checks.positive("logit_scale", logit_scale)
        first, second, third = (min(sides) >= 2**halvings for halvings in (1, 2, 3))
        self.features = nn.Sequential(
            convolution(channels, w),
            convolution(w, 2 * w, pool=first),
            ResidualPair(2 * w),
            convolution(2 * w, 4 * w, pool=second),
            convolution(4 * w, 8 * w, pool=third),
            ResidualPair(8 * w),
        )
        he_normal_(self.features)
        self.head = nn.Linear(8 * w, num_classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        return self.head(self.features(x).amax(dim=(2, 3))) * self.logit_scale


class ResidualPair(nn.Module):
    """x + f(x), f two convolutions that keep the shape [B, width, H, W]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pair = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the input and what the pair makes of it."""
        return x + self.pair(x)


def convolution(before: int, after: int, pool: bool = False) -> nn.Sequential:
    """Convolution 3x3, max pool 2x2 if asked for, batch norm, ReLU."""
    # No bias: batch norm would subtract it again.
    layers: list[nn.Module] = [nn.Conv2d(before, after, 3, padding=1, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.BatchNorm2d(after), nn.ReLU(inplace=True))
