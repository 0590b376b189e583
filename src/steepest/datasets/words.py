"""Text as numbered words, for skip-gram."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

WORD = re.compile(r"[^\W\d_]+")
UNKNOWN = "<unk>"  # stands for rare words in WikiText, which are left out here


def words_of(paragraph: str) -> list[str]:
    """Its runs of letters, in lower case."""
    return WORD.findall(paragraph.replace(UNKNOWN, " ").lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words that occur often enough, the most frequent first (of equals, in the order of the alphabet)."""

    words: list[str]
    counts: Tensor
    """How often each occurs, int64 [words]."""

    @classmethod
    def of(cls, paragraphs: Sequence[Sequence[str]], min_count: int) -> "Vocabulary":
        """That of a text."""
        counted = Counter(word for paragraph in paragraphs for word in paragraph)
        kept = sorted((-count, word) for word, count in counted.items() if count >= min_count)
        return cls([word for _, word in kept], -torch.tensor([count for count, _ in kept], dtype=torch.int64))

    def encode(self, paragraphs: Sequence[Sequence[str]]) -> "Text":
        """The text in numbers; other words are left out, so that those around them are neighbours."""
        number = {word: index for index, word in enumerate(self.words)}
        rows = [[number[word] for word in paragraph if word in number] for paragraph in paragraphs]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        words = np.array([word for row in rows for word in row], dtype=np.int64)
        return Text(words, np.repeat(np.arange(len(rows)), lengths))


@dataclass(frozen=True)
class Text:
    """Numbers of words [T], and the number of the paragraph that each stands in [T]."""

    words: np.ndarray
    paragraphs: np.ndarray

    def __len__(self) -> int:
        return len(self.words)

    def thinned(self, keep: np.ndarray, generator: np.random.Generator) -> "Text":
        """Each word w stays with probability keep[w]."""
        stays = generator.random(len(self)) < keep[self.words]
        return Text(self.words[stays], self.paragraphs[stays])

    def pairs(self, window: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Every word with each of its neighbours in the same paragraph: (centers [P], contexts [P]).

        How far neighbours may stand is drawn for each centre, from 1 to `window`, so that near ones count more
        (Mikolov et al. 2013a, arXiv:1301.3781, section 3.2).
        """
        reach = generator.integers(1, window + 1, len(self))
        centers, contexts = [], []
        for distance in range(1, window + 1):
            left, right = self.words[:-distance], self.words[distance:]
            together = self.paragraphs[:-distance] == self.paragraphs[distance:]
            forth = together & (reach[:-distance] >= distance)
            back = together & (reach[distance:] >= distance)
            centers += [left[forth], right[back]]
            contexts += [right[forth], left[back]]
        return np.concatenate(centers), np.concatenate(contexts)


def keep_probability(counts: np.ndarray, threshold: float | None) -> np.ndarray:
    """With which probability an occurrence of each word stays; None: with 1.

        P(w) = min(1, sqrt(t / f(w))),   f(w) the word's share of the text

    Mikolov et al. 2013b, arXiv:1310.4546, equation 5, which gives the probability to be left out.
    """
    if threshold is None:
        return np.ones(len(counts))
    frequency = counts / counts.sum()
    return np.minimum(1.0, np.sqrt(threshold / frequency))


class NoiseWords:
    """Draws words with a probability proportional to count^power; 0.75 in Mikolov et al. 2013b, section 2.2."""

    def __init__(self, counts: np.ndarray, power: float) -> None:
        weights = counts.astype(np.float64) ** power
        self.cumulated = np.cumsum(weights) / weights.sum()

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
        """Numbers of words, int64 of this shape."""
        found = np.searchsorted(self.cumulated, generator.random(shape), side="right")
        return np.minimum(found, len(self.cumulated) - 1)  # the last sum may be rounded below 1
