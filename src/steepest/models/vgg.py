"""VGG with batch norm, for images of any size."""

from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.initialise import he_normal_

# Convolutions of the five stages. Simonyan & Zisserman 2015, table 1, columns A, B, D, E.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
MULTIPLES = (1, 2, 4, 8, 8)  # channels of a stage, as multiples of the first one's


class VGG(nn.Module):
    """Stacks of 3x3 convolutions with a max pool after each. Simonyan & Zisserman 2015, arXiv:1409.1556, table 1.

    Two departures, usual on small images: batch norm after each convolution (Ioffe & Szegedy 2015, arXiv:1502.03167),
    and global average pooling with one linear layer in place of the three (of 124 million parameters).
    The five pools halve the image; those that would leave less than 1 px are left out: an image of 8 px keeps
    three, one of 28 px four, one of 32 px all five.

    Args:
        input_shape: (C, H, W) of one image, from the dataset; at least 3 x 3 px.
        num_classes: number of logits, from the dataset.
        depth: 11, 13, 16 or 19 layers with weights in the paper, whose last three are one here.
        width: channels of the first stage; 64 in the paper, then 2, 4, 8 and 8 times as many.
        batch_norm: normalise after each convolution; its bias, which that would cancel, is then left out. Where the
            image ends as 1 x 1, a training batch needs at least 2 examples.
        dropout: probability in [0, 1) of zeroing a pooled feature in training, before the head.

    Initial weights: `he_normal_`. Wrong values raise `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        depth: int = 16,
        width: int = 64,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *sides = checks.image_shape("vgg", input_shape, num_classes, min_side=3)
        side = min(sides)
        checks.whole("width", width)
        checks.flag("batch_norm", batch_norm)
        layers: list[nn.Module] = []
        for convolutions, multiple in zip(STAGES[checks.choice("depth", depth, STAGES)], MULTIPLES, strict=True):
            for _ in range(convolutions):
                layers.append(nn.Conv2d(channels, multiple * width, 3, padding=1, bias=not batch_norm))
                channels = multiple * width
                if batch_norm:
                    layers.append(nn.BatchNorm2d(channels))
                layers.append(nn.ReLU(inplace=True))
            if side >= 2:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(checks.probability("dropout", dropout))
        self.head = nn.Linear(channels, num_classes)
        he_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        pooled = self.features(x).mean(dim=(2, 3))
        return self.head(self.dropout(pooled))
