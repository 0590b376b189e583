"""Windows of a long text, whose every position predicts the next token."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from steepest.datasets.order import Bounds, epoch_order

IGNORED = -100
"""The target of a position that is not to be predicted; `torch.nn.functional.cross_entropy` leaves it out."""

CPU = torch.device("cpu")
ON_DEVICE = 4 * 2**30
"""Bytes of tokens up to which they are kept on an accelerator."""


class Windows:
    """Batches (inputs int64 [B, T], targets int64 [B, T]): targets are the inputs one token later.

    An epoch of training cuts the text into windows side by side that begin at an offset below T, drawn from the seed
    and the epoch: every token is predicted once, but for less than 2 T at the two ends.

    In evaluation every token but the first, which nothing stands before, is predicted exactly once. What a window holds
    beyond the end of the text, or predicts a second time where windows overlap, has the target -100.

    Args:
        tokens: of the text, uint8, uint16 or int32 [N], in memory or memory-mapped.
        context_length: T.
        stride: tokens from one window of evaluation to the next, up to T: with fewer, windows overlap, and every
            token but those of the first window is predicted from T - stride others or more.
        device: where batches go.
    """

    def __init__(self, tokens: np.ndarray, context_length: int, stride: int | None = None, device: torch.device = CPU):
        self.tokens = tokens
        self.context_length = context_length
        self.stride = stride
        self.device = device
        self._rows = sliding_window_view(tokens, context_length + 1) if len(tokens) > context_length else None
        self._there: Tensor | None = None
        if device.type != "cpu" and tokens.nbytes <= ON_DEVICE:
            narrow = tokens if tokens.dtype == np.uint8 else tokens.astype(np.int32)
            self._there = torch.from_numpy(narrow).to(device)

    def __len__(self) -> int:
        """Windows in an epoch of training, or in an evaluation."""
        predicted, length = len(self.tokens) - 1, self.context_length
        if predicted < 1:
            return 0
        if self.stride is None:
            return max(1, (predicted - length + 1) // length) if predicted >= length else 0
        return 1 + max(0, -(-(predicted - length) // self.stride))

    def to(self, device: torch.device) -> "Windows":
        """The same windows, whose batches come on this device."""
        if device == self.device:
            return self
        return Windows(self.tokens, self.context_length, self.stride, device)

    def order(self, seed: int | None, epoch: int) -> Tensor:
        """Where each window begins, int64 [len], a function of the seed and the epoch; None: those of evaluation."""
        count, length = len(self), self.context_length
        if seed is None:
            return torch.arange(count) * (length if self.stride is None else self.stride)
        room = len(self.tokens) - 1 - count * length
        offset = np.random.default_rng([seed, epoch, 3]).integers(min(length, room + 1))
        return epoch_order(seed, epoch, count) * length + int(offset)

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor]]:
        """The windows that begin at `order[start:stop]`, for each pair of bounds."""
        for start, stop in bounds:
            begins = order[start:stop]
            rows = self._gather(begins)
            inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
            if self.stride is not None:
                targets = self._counted(targets, begins)
            yield inputs, targets

    def _gather(self, begins: Tensor) -> Tensor:
        """int64 [B, T + 1] on the device; beyond the end of the text stands its last token."""
        width, count = self.context_length + 1, len(self.tokens)
        if self._there is not None:
            places = begins.to(self.device)[:, None] + torch.arange(width, device=self.device)
            return self._there[places.clamp_(max=count - 1)].long()
        if self._rows is not None and len(begins) and int(begins.max()) + width <= count:
            rows = self._rows[begins.numpy()]
        else:
            rows = self.tokens[np.minimum(begins.numpy()[:, None] + np.arange(width), count - 1)]
        return torch.from_numpy(rows.astype(np.int64)).to(self.device)

    def _counted(self, targets: Tensor, begins: Tensor) -> Tensor:
        """The targets, but -100 for those that evaluation does not count."""
        assert self.stride is not None
        begins = begins.to(targets.device)[:, None]
        places = torch.arange(self.context_length, device=targets.device)
        again = (begins > 0) & (places < self.context_length - self.stride)
        # Not in place: of a single window, inputs and targets may be views of the same numbers.
        return targets.masked_fill(again | (begins + places + 1 >= len(self.tokens)), IGNORED)
