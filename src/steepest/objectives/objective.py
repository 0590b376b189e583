"""The base of the analytic functions, which are data sets whose examples are draws of gradient noise."""

from collections.abc import Iterator
from typing import Self

import numpy as np
import torch
from torch import Tensor

from steepest.datasets.data import Data, is_count, require
from steepest.datasets.loader import Batch
from steepest.datasets.order import Bounds


class Objective(Data):
    """A function f of a point x in R^d, to be minimised; one says in `value` what it is, with its constants.

    An example is a draw z of the gradient noise, standard normal in R^d, and its loss is f(x) + noise z . x: the mean
    over all draws is f(x), and the gradient of a batch of B has noise of standard deviation noise / sqrt(B) in every
    entry. Draws are a function of the run's seed and the epoch. Without noise all examples are the same, and the
    gradient is exact.

    Args:
        noise: standard deviation of an entry of an example's gradient.
        epoch_examples: draws that make an epoch.
        name: of the data set, for messages.
        eval_batch_size: unused, since validation looks at one point.

    Raises:
        ConfigError: a value out of its range.
    """

    start: Tensor
    """Where to begin, float64 [d]."""
    minimum: float
    """The least value."""
    minimizers: Tensor
    """The points where it is taken, float64 [m, d]."""
    L: float | None = None
    """The largest eigenvalue of the Hessian anywhere (Lipschitz constant of the gradient); None: there is none."""
    mu: float | None = None
    """The smallest eigenvalue of the Hessian anywhere, if above 0 (strong convexity); 0: convex; None: neither."""

    def __init__(self, noise: float, epoch_examples: int, name: str, eval_batch_size: int) -> None:
        super().__init__(name, eval_batch_size)
        require(0 <= noise < np.inf, "noise", noise, "numbers from 0")
        require(is_count(epoch_examples, 1), "epoch_examples", epoch_examples, "whole numbers from 1")
        self.noise, self.epoch_examples = noise, epoch_examples

    def value(self, x: Tensor) -> Tensor:
        """The values of points [..., d], [...]; differentiable twice, in the dtype and on the device of x."""
        raise NotImplementedError

    @property
    def dimension(self) -> int:
        """The number d of variables."""
        return len(self.start)

    def read(self) -> "dict[str, Draws]":
        """The draws of training, and one look at the point for validation and test."""
        width = self.dimension if self.noise else 0
        return {"train": Draws(self.epoch_examples, width), "val": Draws(1, 0), "test": Draws(1, 0)}

    def blank_batch(self, size: int) -> Batch:
        """Noise [size, d] on the device `meta`; [size, 0] without noise."""
        return (torch.empty(size, self.dimension if self.noise else 0, device="meta"),)

    def describe(self) -> str:
        """The function, in a line."""
        constants = [f"{name} = {value:g}" for name, value in (("L", self.L), ("mu", self.mu)) if value is not None]
        known = [f"{self.dimension} variables", f"least value {self.minimum:g}", *constants]
        return ", ".join(known)


class Draws:
    """Standard normal vectors, drawn anew in every epoch.

    Args:
        count: in an epoch.
        width: d; 0: vectors without entries.
    """

    def __init__(self, count: int, width: int) -> None:
        self.count, self.width = count, width
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        return self.count

    def to(self, device: torch.device) -> Self:
        """Batches will come on this device."""
        self.device = device
        return self

    def order(self, seed: int | None, epoch: int) -> Tensor:
        """A number that stands for each draw of an epoch, int64 [count]."""
        first = int(np.random.default_rng([seed or 0, epoch, 3]).integers(2**62))
        return first + torch.arange(self.count)

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor]]:
        """The draws `order[start:stop]` of each pair of bounds, [B, d]."""
        for start, stop in bounds:
            generator = np.random.default_rng([int(order[start]), stop])
            numbers = generator.standard_normal((stop - start, self.width), dtype=np.float32)
            yield (torch.from_numpy(numbers).to(self.device),)


def vector(*entries: float) -> Tensor:
    """A point, float64 [d]."""
    return torch.tensor(entries, dtype=torch.float64)


def check_dimension(dimension: int, least: int = 1) -> None:
    """Raise ConfigError for a number of variables that a function cannot have."""
    require(is_count(dimension, least), "dimension", dimension, f"whole numbers from {least}")
