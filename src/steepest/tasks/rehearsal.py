"""The shapes of a batch sent through a model without its numbers, before training."""

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn


class WrongOutputs(Exception):
    """A model's outputs have not the shape that its task needs.

    Args:
        given: their shape.
        allowed: the shape that is needed.
        meaning: what the outputs of that shape are, in words.
    """

    def __init__(self, given: Sequence[int], allowed: Sequence[int], meaning: str) -> None:
        super().__init__(f"outputs of shape {list(given)}; allowed is {list(allowed)}, {meaning}")


def outputs(model: nn.Module, *inputs: Any) -> Any:
    """What a copy of the model gives in training for inputs on the device `meta`; the model stays as it is."""
    return copy.deepcopy(model).to("meta").train()(*inputs)


def require_shape(given: Any, allowed: Sequence[int], meaning: str) -> None:
    """Raise WrongOutputs unless the tensor has this shape."""
    shape = tuple(getattr(given, "shape", ()))
    if shape != tuple(allowed):
        raise WrongOutputs(shape, allowed, meaning)
