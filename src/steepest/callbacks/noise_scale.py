"""The gradient noise scale: the batch size from which on larger batches bring little."""

import math
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from steepest.callbacks.norms import squared_norm


class NoiseScale:
    """B_simple = tr(Sigma) / |G|^2. McCandlish et al. 2018, arXiv:1812.06162, appendix A.1.

    G is the gradient of the whole loss, Sigma the covariance of the gradient of one example. |G|^2 and tr(Sigma) are
    averaged apart, since the ratio of one measurement is biased. The paper measures at every step and averages
    exponentially; here a few steps are measured, between which both may fall a thousandfold, which an exponential
    average would not forget: it is the mean of the last few.

    Args:
        last: how many.
    """

    def __init__(self, last: int = 5) -> None:
        self.pairs: deque[tuple[float, float]] = deque(maxlen=last)

    def add(self, square: float, trace: float) -> None:
        """Count a measurement of |G|^2 and tr(Sigma) in, if it is finite."""
        if math.isfinite(square) and math.isfinite(trace):
            self.pairs.append((square, trace))

    @property
    def value(self) -> float | None:
        """The noise scale in examples; None while the noise hides the gradient or itself."""
        square, trace = sum(pair[0] for pair in self.pairs), sum(pair[1] for pair in self.pairs)
        return trace / square if square > 0 and trace > 0 else None


def estimates(small_square: float, big_square: float, small: float, big: float) -> tuple[float, float]:
    """Unbiased estimates of |G|^2 and tr(Sigma), equations A.2 and A.3 of the paper.

        |G|^2     = (big |G_big|^2 - small |G_small|^2) / (big - small)
        tr(Sigma) = (|G_small|^2 - |G_big|^2) / (1/small - 1/big)

    Args:
        small_square: the mean squared norm of gradients of `small` examples.
        big_square: the squared norm of a gradient of `big` examples.
        small: examples of each of the first.
        big: examples of the second.
    """
    square = (big * big_square - small * small_square) / (big - small)
    return square, (small_square - big_square) / (1 / small - 1 / big)


def from_halves(task: Any, batch: Sequence[Tensor]) -> tuple[float, float] | None:
    """Estimates from the gradients of two halves of a batch: one more gradient. None for a batch that has no halves.

    The training loss must be a mean over examples. With batch normalisation each half is normalised by itself.
    """
    size = len(batch[0]) // 2
    if not halves(batch):
        return None
    params = trained(task)
    parts = (tuple(tensor[:size] for tensor in batch), tuple(tensor[size : 2 * size] for tensor in batch))
    one, two = (gradients(task.loss(part), params) for part in parts)
    small = (sum_squares(one) + sum_squares(two)) / 2
    big = sum_squares([(a + b) / 2 for a, b in zip(one, two, strict=True)])
    return estimates(float(small), float(big), size, 2 * size)


def halves(batch: Any) -> bool:
    """Whether a batch is tensors of as many rows each, two or more."""
    if not isinstance(batch, tuple | list) or not all(isinstance(part, Tensor) and part.ndim for part in batch):
        return False
    return len(batch) > 0 and len(batch[0]) >= 2 and all(len(part) == len(batch[0]) for part in batch)


def trained(task: nn.Module) -> list[nn.Parameter]:
    """The parameters that take a gradient."""
    return [p for p in task.parameters() if p.requires_grad]


def gradients(loss: Tensor, params: Sequence[nn.Parameter]) -> Sequence[Tensor]:
    """The gradient of a loss, zeros where a parameter has no part in it; the parameters' own `grad` stays as it is."""
    found = torch.autograd.grad(loss, params, allow_unused=True)
    return [torch.zeros(1, device=p.device) if g is None else g for p, g in zip(params, found, strict=True)]


def sum_squares(tensors: Sequence[Tensor]) -> Tensor:
    """The squared norm of all of them."""
    return torch.stack([squared_norm(tensor.detach()).float() for tensor in tensors]).sum()


class MicroBatches:
    """The gradients of the micro-batches of one step, from what each backward pass adds to `grad`.

    Args:
        task: whose parameters take part.
        count: micro-batches in the step, by which each one's loss is divided. Those of a full batch differ by one in
            size, which is left out of account.
    """

    def __init__(self, task: nn.Module, count: int) -> None:
        self.params, self.count = trained(task), count
        self.examples = 0
        self.seen = 0
        self._before: dict[nn.Parameter, Tensor] = {}
        self._squares = 0.0

    @torch.no_grad()
    def add(self, examples: int, scale: float) -> None:
        """Look at what a backward pass over so many examples has added; `scale` is that of the loss (float16)."""
        added = []
        for p in self.params:
            if p.grad is not None:
                added.append(p.grad - self._before[p] if p in self._before else p.grad)
                self._before[p] = p.grad.clone()
        self._squares += float(sum_squares(added)) * (self.count / scale) ** 2 if added else 0.0
        self.examples += examples
        self.seen += 1

    def estimates(self) -> tuple[float, float] | None:
        """The estimates, when `grad` holds the whole gradient, without the scale; None unless all were seen."""
        if self.seen != self.count or self.count < 2 or not self._before:
            return None
        big = float(sum_squares([p.grad for p in self._before if p.grad is not None]))
        return estimates(self._squares / self.count, big, self.examples / self.count, self.examples)
