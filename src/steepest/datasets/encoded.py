"""What data sets of image files share: decoded once into memory, or streamed."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steepest.datasets.cache import DecodedCache
from steepest.datasets.data import is_count, require
from steepest.datasets.examples import Source
from steepest.datasets.images import ImageData
from steepest.datasets.memory import MemoryImages
from steepest.datasets.stream import StreamedImages

MEMORY_LIMIT = 2 * 2**30
"""Bytes of decoded images up to which `in_memory: auto` keeps them in memory."""


class EncodedImages(ImageData):
    """Base of data sets whose images are files such as JPEG; one says in `streams` where these are.

    Args:
        image_size: scale the shorter side to this many pixels and keep the centre square; null: as they are.
        cache_dir: for decoded images.
        in_memory: auto (up to 2 GiB decoded), true or false (stream).
        workers: processes that decode a stream; 0: the main process.
        name, mean, std, crop_padding, flip, validation_fraction, split_seed, eval_batch_size: of `ImageData`.
    """

    def __init__(
        self,
        image_size: int | None,
        cache_dir: str,
        in_memory: bool | str,
        workers: int,
        name: str,
        mean: Sequence[float],
        std: Sequence[float],
        crop_padding: int,
        flip: bool,
        validation_fraction: float,
        split_seed: int,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, mean, std, crop_padding, flip, validation_fraction, split_seed, eval_batch_size)
        require(len(mean) in (1, 3), "mean", list(mean), "one number (grey) or three (colour)")
        require(in_memory in (True, False, "auto"), "in_memory", in_memory, "auto, true and false")
        require(is_count(workers, 0), "workers", workers, "whole numbers from 0")
        sized = image_size is None or is_count(image_size, 1)
        require(sized, "image_size", image_size, "null and whole numbers from 1")
        self.image_size = image_size
        self.cache_dir = Path(cache_dir)
        self.in_memory = in_memory
        self.workers = workers
        self.channels = len(mean)

    def files(self) -> list[Path]:
        """All that the decoded images come from.

        Raises:
            MissingDataError: there are none.
            ConfigError: they are not as they should be.
        """
        raise NotImplementedError

    def options(self) -> list[Any]:
        """What else decides the decoded images, as plain values."""
        return [self.channels, self.image_size]

    def streams(self) -> Source:
        """Both parts as `StreamedImages`."""
        raise NotImplementedError

    def read_source(self) -> Source:
        """Both parts, in memory or as streams."""
        cache = DecodedCache(self.cache_dir / "images", self.name, self.files(), self.options())
        content = None if self.in_memory is False else cache.load()
        if content is None:
            streams = self.streams()
            size = math.prod(streams.train.shape) * (len(streams.train) + len(streams.test))
            if self.in_memory is False or (self.in_memory == "auto" and size > MEMORY_LIMIT):
                return streams
            content = {"class_names": streams.class_names}
            for part in ("train", "test"):
                stream: StreamedImages = getattr(streams, part)
                content |= {f"{part}_images": stream.decode_all(), f"{part}_labels": stream.labels}
            cache.save(content)
        train, test = (MemoryImages(content[f"{part}_images"], content[f"{part}_labels"]) for part in ("train", "test"))
        return Source(train, test, content["class_names"])
