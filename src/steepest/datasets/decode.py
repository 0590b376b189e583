"""From the bytes of an image file to an array."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from steepest.errors import ConfigError

GREY_MODES = ("1", "L")
MODES = (*GREY_MODES, "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr")  # 8 bits a channel; others would lose precision


@dataclass(frozen=True)
class Decoder:
    """Decodes records {"bytes": ..., "path": ...}, as Hugging Face `datasets` keeps images.

    Args:
        origin: what the messages call the data.
        channels: 1 (grey) or 3 (colour; grey images are repeated).
        image_size: the shorter side is scaled to it and the centre square kept; None: images stay as they are.
    """

    origin: str
    channels: int
    image_size: int | None

    def decode(self, record: dict[str, Any], number: int) -> np.ndarray:
        """One image, uint8 [channels, H, W]; `number` is its row, for messages."""
        if not record:
            raise ConfigError(f"{self.origin}: image {number} is missing; allowed are images in every row.")
        which = f"{self.origin}: image {number}" + ("" if record["bytes"] else f" ({record['path']})")
        try:
            with Image.open(io.BytesIO(record["bytes"]) if record["bytes"] else record["path"]) as image:
                image.load()
        except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
            reason = "its format is unknown" if isinstance(error, UnidentifiedImageError) else error
            raise ConfigError(f"{which} cannot be decoded ({reason}).") from error
        if image.mode not in MODES:
            raise ConfigError(f"{which} has mode {image.mode}; allowed are {', '.join(MODES)}.")
        if self.channels == 1 and image.mode not in GREY_MODES:
            raise ConfigError(
                f"{which} is in colour ({image.mode}), but dataset.mean has one channel; "
                "give dataset.mean and dataset.std three numbers."
            )
        pixels = image.convert("L" if self.channels == 1 else "RGB")
        if self.image_size:
            pixels = ImageOps.fit(pixels, (self.image_size, self.image_size), Image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(pixels)).transpose(2, 0, 1)

    def stack(
        self, records: Sequence[dict[str, Any]], numbers: Sequence[int], shape: tuple[int, int, int] | None = None
    ) -> Tensor:
        """Images of one shape, uint8 [len(records), C, H, W].

        Args:
            records: encoded images.
            numbers: their rows, for messages.
            shape: what (C, H, W) must be; None: as the first image.

        Raises:
            ConfigError: an image of another shape.
        """
        images = torch.empty(0)
        for place, (record, number) in enumerate(zip(records, numbers, strict=True)):
            pixels = self.decode(record, number)
            shape = shape or pixels.shape
            if pixels.shape != shape:
                raise ConfigError(
                    f"{self.origin}: image {number} has {pixels.shape[1]} x {pixels.shape[2]} pixels, others "
                    f"{shape[1]} x {shape[2]}; a resize is needed: set dataset.image_size."
                )
            if place == 0:
                images = torch.empty((len(records), *shape), dtype=torch.uint8)
            images.numpy()[place] = pixels
        return images if len(records) else torch.empty((0, *(shape or (self.channels, 0, 0))), dtype=torch.uint8)
