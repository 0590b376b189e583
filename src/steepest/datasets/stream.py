"""Images too many for memory: read from memory-mapped Arrow files and decoded in worker processes."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import datasets
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from steepest.datasets.decode import Decoder
from steepest.datasets.order import Bounds
from steepest.errors import ConfigError

CPU = torch.device("cpu")
AT_ONCE = 1000  # images that a worker decodes for `decode_all` before it hands them over


class StreamedImages:
    """Encoded images in Arrow files and their labels, int64 [N].

    Args:
        rows: has one column, of undecoded records.
        labels: of all rows.
        decoder: decodes the records.
        shape: (C, H, W) that every image must have.
        workers: processes that decode; 0: in the main process.
        indices: the rows that are meant, int64 [n]; None: all.
        device: where batches go.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        labels: Tensor,
        decoder: Decoder,
        shape: tuple[int, int, int],
        workers: int,
        indices: Tensor | None = None,
        device: torch.device = CPU,
    ) -> None:
        self.rows = rows
        self.labels = labels
        self.decoder = decoder
        self.shape = shape
        self.workers = workers
        self.indices = torch.arange(len(labels)) if indices is None else indices
        self.device = device

    def __len__(self) -> int:
        return len(self.indices)

    def _with(self, indices: Tensor, device: torch.device) -> Self:
        return type(self)(self.rows, self.labels, self.decoder, self.shape, self.workers, indices, device)

    def subset(self, indices: Tensor) -> Self:
        """These examples, in this order, without a copy."""
        return self._with(self.indices[indices], self.device)

    def to(self, device: torch.device) -> Self:
        """The same examples, whose batches come on this device."""
        return self._with(self.indices, device)

    def decode_all(self) -> Tensor:
        """Every image, uint8 [n, C, H, W]."""
        bounds = [(start, min(start + AT_ONCE, len(self))) for start in range(0, len(self), AT_ONCE)]
        images = torch.empty((len(self), *self.shape), dtype=torch.uint8)
        for (start, stop), (decoded, _) in zip(bounds, self.batches(torch.arange(len(self)), bounds), strict=True):
            images[start:stop] = decoded
        return images

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor]]:
        """The examples `order[start:stop]` of each pair of bounds; workers decode a few batches ahead."""
        numbers = self.indices[order]
        loader = DataLoader(
            _Rows(self.rows, self.decoder, self.shape),
            batch_sampler=[numbers[start:stop].tolist() for start, stop in bounds],
            num_workers=self.workers,
            collate_fn=_unchanged,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator(),  # else it would draw from the global one, and shift what a model draws
        )
        for (start, stop), images in zip(bounds, loader, strict=True):
            if isinstance(images, ConfigError):
                raise images
            labels = self.labels[numbers[start:stop]]
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


class _Rows(torch.utils.data.Dataset):
    """What a worker holds; it answers whole batches."""

    def __init__(self, rows: datasets.Dataset, decoder: Decoder, shape: tuple[int, int, int]) -> None:
        self.rows = rows
        self.decoder = decoder
        self.shape = shape

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, numbers: Sequence[int]) -> Tensor | ConfigError:
        """Images uint8 [B, C, H, W]; an error is returned, since raised in a worker it would lose its one sentence."""
        try:
            (records,) = self.rows[numbers].values() if numbers else ([],)
            return self.decoder.stack(records, numbers, self.shape)
        except ConfigError as error:
            return error


def _unchanged(batch: Any) -> Any:
    return batch
