"""The default network: a small convolutional classifier."""

from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks
from steepest.models.initialise import he_normal_


class CNN(nn.Module):
    """Convolution 3x3, batch norm, ReLU, max pool 2x2; repeated, then global average pooling and a linear head.

    A small relative of VGG (Simonyan & Zisserman 2015, arXiv:1409.1556) with batch norm (Ioffe & Szegedy 2015,
    arXiv:1502.03167) and global average pooling (Lin et al. 2014, arXiv:1312.4400), which lets it take any image size.

    Args:
        input_shape: (C, H, W) of one image, from the dataset; at least 3 x 3 px.
        num_classes: number of logits, from the dataset.
        widths: channels of every block, at least one.
        dropout: probability in [0, 1) of zeroing a pooled feature in training, before the head.

    The last block does not pool, and no block pools a side below 4 px: 2 x 2 px always remain of such an image, so
    batch norm has several values a channel even in a batch of one. Initial weights: `he_normal_`. Wrong values raise
    `ConfigError`.
    """

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        widths: Sequence[int] = (32, 64, 128),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, *sides = checks.image_shape("cnn", input_shape, num_classes, min_side=3)
        side = min(sides)
        blocks: list[nn.Module] = []
        for block, width in enumerate(checks.widths("widths", widths)):
            if block and side >= 4:
                blocks.append(nn.MaxPool2d(2))
                side //= 2
            # No bias: batch norm would subtract it again.
            blocks += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(checks.probability("dropout", dropout))
        self.head = nn.Linear(channels, num_classes)
        he_normal_(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        pooled = self.features(x).mean(dim=(2, 3))
        return self.head(self.dropout(pooled))
