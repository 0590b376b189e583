"""Residual networks of the ImageNet family, for small images too."""

from collections.abc import Sequence

import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from steepest.models import checks

# Blocks of the four stages. He et al. 2015, table 1.
STAGES: dict[int, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
    152: (Bottleneck, [3, 8, 36, 3]),
}
SMALL_IMAGE = 64  # px


class ResNet(torchvision.models.ResNet):
    """torchvision's residual network with a stem that suits the image. He et al. 2015, arXiv:1512.03385, table 1.

    Blocks, parameter names and initial weights are torchvision's (stride in the 3x3 convolution of a bottleneck;
    convolutions N(0, 2 / fan_out), He et al. 2015, arXiv:1502.01852; head U(+-1 / sqrt(fan_in))), so that its
    checkpoints load.

    Args:
        input_shape: (C, H, W) of one image, from the dataset; at least 3 x 3 px.
        num_classes: number of logits, from the dataset.
        depth: 18, 34, 50, 101 or 152 layers.
        stem: imagenet (convolution 7x7 of stride 2 and a max pool: the image shrinks by 4), cifar (convolution 3x3 of
            stride 1, no pool), or auto: cifar where the longer side is at most 64 px.
        zero_init_residual: let the last batch-norm gamma of every block start at 0, so that a block starts as the
            identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1).

    Images of 8 px end as 1 x 1: batch norm then needs training batches of at least 2. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        depth: int,
        stem: str = "auto",
        zero_init_residual: bool = False,
    ) -> None:
        channels, height, width = checks.image_shape("resnet", input_shape, num_classes, min_side=3)
        block, stages = STAGES[checks.choice("depth", depth, STAGES)]
        stem = checks.choice("stem", stem, ("auto", "cifar", "imagenet"))
        zero_init_residual = checks.flag("zero_init_residual", zero_init_residual)
        super().__init__(block, stages, num_classes=num_classes, zero_init_residual=zero_init_residual)
        if stem == "cifar" or (stem == "auto" and max(height, width) <= SMALL_IMAGE):
            self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
