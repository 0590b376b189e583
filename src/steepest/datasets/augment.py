"""Random crop, horizontal flip and normalisation of a whole batch of images at once, on its device."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class Augment:
    """Turn uint8 images [B, C, H, W] into float32 ones: flip, padded crop, then (x / 255 - mean) / std per channel.

    The random numbers are drawn apart from their use, on the CPU and for a whole epoch, so that the result depends
    neither on the device nor on the way an epoch is cut into batches.

    Args:
        mean, std: one number per channel, of pixels in [0, 1].
        crop_padding: black pixels added at each side before an H x W window is cut at random; 0: no crop.
        flip: mirror each image left to right with probability 1/2.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], crop_padding: int = 0, flip: bool = False) -> None:
        shape = (1, len(mean), 1, 1)
        self.scale = torch.tensor([1 / (255 * s) for s in std], dtype=torch.float32).view(shape)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], dtype=torch.float32).view(shape)
        self.crop_padding = crop_padding
        self.flip = flip
        self._canvas = torch.empty(0)
        self._windows = torch.empty(0)

    def draw(self, generator: np.random.Generator, num_examples: int) -> Tensor | None:
        """Row and column of the crop's corner and whether to flip, int64 [3, num_examples]; None: nothing is random."""
        if not self.crop_padding and not self.flip:
            return None
        limits = [[2 * self.crop_padding + 1], [2 * self.crop_padding + 1], [1 + self.flip]]
        return torch.from_numpy(generator.integers(limits, size=(3, num_examples)))

    def __call__(self, images: Tensor, draws: Tensor | None = None) -> Tensor:
        """Float32 images of the same shape.

        Args:
            images: uint8 [B, C, H, W].
            draws: what `draw` gave for these images, int64 [3, B] on their device; None: neither crop nor flip.
        """
        if draws is not None:
            images = self._crop_and_flip(images, *draws)
        if self.scale.device != images.device:
            self.scale, self.shift = self.scale.to(images.device), self.shift.to(images.device)
        return images.to(torch.float32).mul_(self.scale).add_(self.shift)  # two rounded steps: the same on every device

    def _crop_and_flip(self, images: Tensor, row: Tensor, column: Tensor, mirrored: Tensor) -> Tensor:
        """Gather from a view of all windows of all padded images: [B, mirrored or not, row, column, C, H, W]."""
        batch, channels, height, width = images.shape
        p = self.crop_padding
        shape = (1 + self.flip, channels, height + 2 * p, width + 2 * p)
        if len(self._canvas) < batch or self._canvas.shape[1:] != shape or self._canvas.device != images.device:
            self._canvas = images.new_zeros(batch, *shape)  # kept: only its inside is written, the border stays black
            self._windows = self._canvas.unfold(3, height, 1).unfold(4, width, 1).permute(0, 1, 3, 4, 2, 5, 6)
        inside = self._canvas[:batch, :, :, p : p + height, p : p + width]
        inside[:, 0] = images
        if self.flip:
            inside[:, 1] = images.flip(-1)
        index = (torch.arange(batch, device=images.device), mirrored, row, column)
        if images.device.type == "cpu":  # NumPy copies rows of pixels where torch copies bytes: a fifth of the time
            return torch.from_numpy(self._windows.numpy()[tuple(part.numpy() for part in index)])
        return self._windows[index]
