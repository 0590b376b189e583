"""Multinomial logistic regression: the convex case."""

from collections.abc import Sequence

from torch import Tensor, nn

from steepest.models import checks


class Logistic(nn.Module):
    """Multinomial (softmax) logistic regression on the pixels. Bishop 2006, PRML, section 4.3.4.

        logits = W vec(x) + b

    Args:
        input_shape: (C, H, W) of one image, from the dataset.
        num_classes: number of logits, from the dataset.
        bias: whether b is there.

    Weights start at zero: with cross-entropy the problem is convex, so the start decides no minimum, and the
    first loss is exactly log(num_classes). No random number is drawn. Wrong values raise `ConfigError`.
    """

    def __init__(self, *, input_shape: Sequence[int], num_classes: int, bias: bool = True) -> None:
        super().__init__()
        channels, height, width = checks.image_shape("logistic", input_shape, num_classes)
        self.linear = nn.Linear(channels * height * width, num_classes, bias=checks.flag("bias", bias))
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_classes]."""
        return self.linear(x.flatten(1))
