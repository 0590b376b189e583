"""Word dropout."""

import numpy as np
import torch
from torch import Tensor

from steepest.datasets.text_batches import PAD, UNKNOWN

ODD = (-7046029254386353131, -4658895280553007687, -7723592293110705685)
"""The constants of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers: 0x9E3779B97F4A7C15 and the two of its
mixing."""


class WordDropout:
    """Turn words of texts, int64 [B, T], into `<unk>` at random, which also teaches a model what `<unk>` is.

    One number is drawn for each text of an epoch, on the CPU, and a hash of it and of the word's place decides: so the
    result depends neither on the device nor on how an epoch is cut into batches.

    Args:
        probability: of a word, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability
        self.limit = int(probability * 2**32)

    def draw(self, generator: np.random.Generator, num_examples: int) -> Tensor | None:
        """A number for each text, int64 [1, num_examples]; None: no word is dropped."""
        if not self.probability:
            return None
        return torch.from_numpy(generator.integers(2**63, size=(1, num_examples)))

    def __call__(self, tokens: Tensor, draws: Tensor | None = None) -> Tensor:
        """The texts with some words dropped.

        Args:
            tokens: int64 [B, T]; padding stays what it is.
            draws: what `draw` gave for these texts, int64 [1, B]; None: as they are.
        """
        if draws is None:
            return tokens
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        mixed = mix(draws[0][:, None] + places * ODD[0])
        return tokens.masked_fill((mixed < self.limit) & (tokens != PAD), UNKNOWN)


def mix(numbers: Tensor) -> Tensor:
    """The upper 32 bits of SplitMix64's mixing of int64 numbers, from 0 to 2^32 - 1; products wrap around."""
    numbers = (numbers ^ shifted(numbers, 30)) * ODD[1]
    numbers = (numbers ^ shifted(numbers, 27)) * ODD[2]
    return shifted(numbers ^ shifted(numbers, 31), 32)


def shifted(numbers: Tensor, bits: int) -> Tensor:
    """Int64 numbers shifted right, as if they had no sign."""
    return (numbers >> bits) & ((1 << (64 - bits)) - 1)
