"""What models for texts share: padding and pooling."""

import math

import torch
from torch import Tensor

PADDING = 0
"""The token that fills texts up to the length of the longest one in a batch."""


def pooled(x: Tensor, real: Tensor, how: str) -> Tensor:
    """One vector [B, C] for each text of [B, T, C], over the positions that `real`, bool [B, T], names.

    That is their mean or, if `how` says so, their max; of a text without any position it is 0.
    """
    real = real[..., None]
    if how == "max":
        highest = x.masked_fill(~real, -math.inf).amax(1)
        return torch.where(real.any(1), highest, 0.0)
    return x.masked_fill(~real, 0.0).sum(1) / real.sum(1).clamp(min=1)


def reversed_texts(x: Tensor, lengths: Tensor) -> Tensor:
    """Texts [B, T, C] with their first `lengths`, int64 [B], positions in reversed order, and the rest where it was."""
    places = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
    mirrored = lengths[:, None] - 1 - places
    places = torch.where(mirrored >= 0, mirrored, places)
    return x.gather(1, places[..., None].expand_as(x))
