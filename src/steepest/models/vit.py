"""Vision transformer."""

import math
from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from torchvision.models import VisionTransformer

from steepest.errors import ConfigError, shown
from steepest.models import checks

PATCHES_A_SIDE = range(4, 9)  # 16 to 64 patches where the size of one is left to us


class ViT(VisionTransformer):
    """torchvision's vision transformer, for any number of channels. Dosovitskiy et al. 2021, arXiv:2010.11929.

    Patches, a class token and learned positions; pre-norm encoder blocks; the class token is classified.

    Args:
        input_shape: (C, S, S) of one image, from the dataset.
        num_classes: number of logits, from the dataset.
        patch_size: side of a patch in px, a divisor of S. None picks the smallest of at least 2 px (else 1) that makes
            16 to 64 patches: 2 for an image of 8 px (16 patches), 4 for 28 px (49) and for 32 px (64).
        dim: width of a token, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads.
        mlp_ratio: hidden width of a block's MLP over `dim`, rounded; 4 in the paper.
        dropout: probability in [0, 1) of zeroing a unit in training, after embedding, attention and MLP layers.
        attention_dropout: the same for attention weights.

    Initial weights are torchvision's: patches truncated N(0, 1 / fan_in), attention and MLP Glorot uniform (Glorot &
    Bengio 2010), positions N(0, 0.02^2), class token 0, head 0 (section 3.2). The head being 0, nothing else
    has a gradient in the very first step. Second derivatives need torch's plain attention, chosen by
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)`. Wrong values raise `ConfigError`.
    """

    undecayed: ClassVar[tuple[str, ...]] = ("norm", "bias")
    """Kinds of parameters that no weight decay should act on, as usual for transformers."""

    def __init__(
        self,
        *,
        input_shape: Sequence[int],
        num_classes: int,
        patch_size: int | None = None,
        dim: int = 128,
        depth: int = 6,
        heads: int = 4,
        mlp_ratio: float = 2.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        channels, side, width = checks.image_shape("vit", input_shape, num_classes)
        if side != width:
            raise ConfigError(f"model=vit needs square images, but the dataset's are {side} x {width} px.")
        if checks.whole("dim", dim) % checks.whole("heads", heads):
            raise ConfigError(f"model.heads={heads} must divide model.dim={dim}.")
        patch = fitting_patch(patch_size, side)
        super().__init__(
            image_size=side,
            patch_size=patch,
            num_layers=checks.whole("depth", depth),
            num_heads=heads,
            hidden_dim=dim,
            mlp_dim=max(1, round(dim * checks.positive("mlp_ratio", mlp_ratio))),
            dropout=checks.probability("dropout", dropout),
            attention_dropout=checks.probability("attention_dropout", attention_dropout),
            num_classes=num_classes,
        )
        if channels != 3:
            self.conv_proj = nn.Conv2d(channels, dim, patch, stride=patch)
            nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (channels * patch * patch)))
            nn.init.zeros_(self.conv_proj.bias)  # type: ignore[arg-type]


def fitting_patch(patch_size: int | None, side: int) -> int:
    """The side in px of a patch for a square image of `side` px; `None` picks one as `ViT` says."""
    divisors = [size for size in range(1, side + 1) if side % size == 0]
    fit = ", ".join(map(str, divisors))
    if patch_size is not None:
        if type(patch_size) is not int or patch_size not in divisors:
            raise ConfigError(
                f"model.patch_size={shown(patch_size)} must divide the image side of {side} px: {fit}, or null."
            )
        return patch_size
    candidates = [size for size in divisors if side // size in PATCHES_A_SIDE]
    if not candidates:
        raise ConfigError(
            f"model.patch_size=null finds no patch that makes 16 to 64 patches of an image of {side} px; "
            f"set one of {fit}."
        )
    return next((size for size in candidates if size > 1), 1)
