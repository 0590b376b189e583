"""The small residual networks made for CIFAR: 8, 20, 32, ... layers."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from steepest.errors import ConfigError
from steepest.models import checks
from steepest.models.initialise import he_normal_


class CifarResNet(nn.Module):
    """Residual network of 6n + 2 layers. He et al. 2015, arXiv:1512.03385, section 4.2.

    A 3x3 convolution, three stages of n two-convolution blocks with `width`, 2 `width` and 4 `width` channels, the
    second and third starting at stride 2, global average pooling, a linear head. Shortcuts have no parameters
    (option A of the paper): where the shape changes, every second pixel and zeros for the new channels.

    Args:
        input_shape: (C, H, W) of one image, from the dataset; at least 3 x 3 px.
        num_classes: number of logits, from the dataset.
        depth: 6n + 2: 8 (n = 1), 14, 20 (the paper's smallest), 32, 44, 56, 110, ...
        width: channels of the first stage; 16 in the paper.
        zero_init_residual: let the last batch-norm gamma of every block start at 0, so that a block starts as the
            identity (Goyal et al. 2017, arXiv:1706.02677, section 5.1); the paper has 1.

    Initial weights: `he_normal_`. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        depth: int = 8,
        width: int = 16,
        zero_init_residual: bool = False,
    ) -> None:
        super().__init__()
        channels, _, _ = checks.image_shape("resnet8", input_shape, num_classes, min_side=3)
        if checks.whole("depth", depth) % 6 != 2 or depth < 8:
            raise ConfigError(f"model.depth={depth} must be 6n + 2 with n >= 1: 8, 14, 20, 26, 32, ...")
        checks.whole("width", width)
        checks.flag("zero_init_residual", zero_init_residual)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        blocks_a_stage = (depth - 2) // 6
        blocks: list[nn.Module] = []
        for before, after in pairwise([width, width, 2 * width, 4 * width]):
            shrink = None if before == after else SubsampleAndPad(after - before)
            blocks.append(BasicBlock(before, after, stride=1 if shrink is None else 2, downsample=shrink))
            blocks += [BasicBlock(after, after) for _ in range(blocks_a_stage - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(4 * width, num_classes)
        he_normal_(self)
        if zero_init_residual:
            for block in self.blocks:
                nn.init.zeros_(block.bn2.weight)  # type: ignore[union-attr, arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))


class SubsampleAndPad(nn.Module):
    """Shortcut without parameters: [B, C, H, W] to [B, C + extra, ceil(H / 2), ceil(W / 2)], new channels zero."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        """Keep every second pixel and append `extra` channels of zeros."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.extra))
