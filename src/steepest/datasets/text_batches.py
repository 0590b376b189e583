"""Texts with a class each, as tokens one after the other."""

from collections.abc import Iterator
from typing import Self

import torch
from torch import Tensor

from steepest.datasets.order import Bounds

PAD = 0
"""The token that fills texts up."""
UNKNOWN = 1
"""The token of an unknown word."""
MULTIPLE = 8
"""Batches are as wide as a multiple of this, which hardware likes."""

CPU = torch.device("cpu")


class LabelledTexts:
    """Batches (tokens int64 [B, T], labels int64 [B]); texts are filled up at their end with token 0.

    T is the length of the longest text in a batch, rounded up to a multiple of 8, `context_length` at most.

    Args:
        tokens: of all texts, one after the other: uint8, uint16 or int32 [all].
        starts: where each text begins in `tokens`, and where the last one ends, int64 [N + 1].
        labels: int64 [N].
        context_length: what is longer is cut off.
        device: where batches go.
    """

    def __init__(
        self, tokens: Tensor, starts: Tensor, labels: Tensor, context_length: int, device: torch.device = CPU
    ) -> None:
        self.tokens = tokens
        self.starts = starts
        self.labels = labels
        self.context_length = context_length
        self.device = device
        self._lengths = starts.diff().clamp_(max=context_length)

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        """The same texts, whose batches come on this device."""
        return type(self)(self.tokens, self.starts, self.labels, self.context_length, device)

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor]]:
        """The texts `order[start:stop]`, for each pair of bounds."""
        for start, stop in bounds:
            chosen = order[start:stop]
            begins, lengths = self.starts[chosen, None], self._lengths[chosen, None]
            longest = int(lengths.max()) if len(chosen) else 1
            width = min(-(-max(1, longest) // MULTIPLE) * MULTIPLE, self.context_length)
            places = torch.arange(width)
            beyond = places >= lengths
            tokens = self.tokens[torch.where(beyond, 0, begins + places)].long().masked_fill_(beyond, PAD)
            yield tokens.to(self.device, non_blocking=True), self.labels[chosen].to(self.device, non_blocking=True)
