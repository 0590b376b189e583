"""Skip-gram pairs: a word, one of its neighbours, and words drawn at random."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from pydoc_data import topics
from typing import Self

import numpy as np
import torch
from torch import Tensor

from steepest.datasets.data import Data, MissingDataError, is_count, require
from steepest.datasets.loader import Batch
from steepest.datasets.order import Bounds
from steepest.datasets.records import Records, check_fractions, shuffled_parts
from steepest.datasets.words import NoiseWords, Text, Vocabulary, keep_probability, words_of
from steepest.errors import ConfigError


class WordPairs(Data):
    """Batches: (centers int64 [B], contexts int64 [B], negatives int64 [B, K]).

    Words are runs of letters in lower case; those that are rarer than `min_count` are left out before windows are made,
    as in word2vec. An epoch of training draws anew which frequent words stay, how far each window reaches, and the
    negatives: a function of the run's seed and the epoch. It has as many pairs as the first such draw with
    `split_seed` gave: of more, some are left out, of fewer, some come twice. Validation and test are drawn once.

    Negatives are drawn from all words; one in a while is the context itself.

    Args:
        path: a text file; null: the text of Python's own documentation, which needs no file.
        test_path, validation_path: text files of these parts; null: a share of the paragraphs, drawn at random.
        blank_lines: paragraphs end at blank lines; false: every line is one.
        window: how far a neighbour may stand, at most.
        subsample: threshold t of `keep_probability`; null: all words stay.
        negatives: drawn for each pair (K).
        power: of a word's count, in the distribution that they are drawn from.
        min_count: of a word in the training part; rarer ones are left out.
        validation_fraction, test_fraction: shares of the paragraphs; unused where the part has a file.
        split_seed: of that split and of the pairs of validation and test, the same for every run seed.
        name: of the data set, for messages.
        eval_batch_size: pairs at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    vocab_size: int
    words: list[str]
    """The most frequent first."""
    row_counts: list[Tensor]
    """How often each word occurs in the training part, int64 [vocab_size]; for centers and for contexts."""

    def __init__(
        self,
        path: str | None,
        validation_path: str | None,
        test_path: str | None,
        blank_lines: bool,
        window: int,
        subsample: float | None,
        negatives: int,
        power: float,
        min_count: int,
        validation_fraction: float,
        test_fraction: float,
        split_seed: int,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, eval_batch_size)
        require(is_count(window, 1), "window", window, "whole numbers from 1")
        require(subsample is None or subsample > 0, "subsample", subsample, "null and numbers above 0")
        require(is_count(negatives, 1), "negatives", negatives, "whole numbers from 1")
        require(0 <= power < np.inf, "power", power, "numbers from 0")
        require(is_count(min_count, 1), "min_count", min_count, "whole numbers from 1")
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        check_fractions(validation_fraction, test_fraction)
        self.paths = {"train": path, "val": validation_path, "test": test_path}
        self.blank_lines, self.window, self.subsample = blank_lines, window, subsample
        self.num_negatives, self.power, self.min_count = negatives, power, min_count
        self.validation_fraction = 0.0 if validation_path else validation_fraction
        self.test_fraction = 0.0 if test_path else test_fraction
        self.split_seed = split_seed

    @property
    def location(self) -> Path | None:
        """The folder of the training text."""
        return Path(path).parent if (path := self.paths["train"]) else None

    def download(self) -> None:
        """Texts are put there by hand."""
        raise RuntimeError("there is no address to get it from")

    def read(self) -> "dict[str, SkipGramPairs | Records]":
        """The pairs of the three parts."""
        texts = self._paragraphs()
        vocabulary = Vocabulary.of(texts["train"], self.min_count)
        self.words, self.vocab_size = vocabulary.words, len(vocabulary.words)
        self.row_counts = [vocabulary.counts] * 2
        if self.vocab_size < 2:
            raise ConfigError(
                f"dataset.min_count={self.min_count} leaves {self.vocab_size} words of the training text; allowed are "
                "smaller numbers, or a longer text."
            )
        counts = vocabulary.counts.numpy()
        keep, noise = keep_probability(counts, self.subsample), NoiseWords(counts, self.power)

        def pairs(part: str) -> SkipGramPairs:
            text = vocabulary.encode(texts[part])
            return SkipGramPairs(text, keep, self.window, noise, self.num_negatives, self.vocab_size, self.split_seed)

        train = pairs("train")
        if not len(train):
            raise ConfigError(
                f"dataset.subsample={self.subsample} leaves no pair of the training text; allowed are null, larger "
                "numbers, or a longer text."
            )
        return {"train": train, "val": pairs("val").fixed(), "test": pairs("test").fixed()}

    def _paragraphs(self) -> dict[str, list[list[str]]]:
        """The words of each paragraph that has some, by parts."""
        found = {part: self._read(path) for part, path in self.paths.items() if path or part == "train"}
        count = len(found["train"])
        dealt = shuffled_parts(count, self.validation_fraction, self.test_fraction, self.split_seed)
        return {
            **{part: [found["train"][i] for i in numbers] for part, numbers in dealt.items()},
            **{part: paragraphs for part, paragraphs in found.items() if part != "train"},
        }

    def _read(self, path: str | None) -> list[list[str]]:
        if path is None:
            text = "\n\n".join(topics.topics[topic] for topic in sorted(topics.topics))
        else:
            try:
                text = Path(path).read_text(encoding="utf-8")
            except FileNotFoundError:
                raise MissingDataError(
                    f"dataset={self.name}: no file {path}; put a text there, or set dataset.path."
                ) from None
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{path} cannot be read as text ({error}).") from error
        paragraphs = re.split(r"\n\s*\n" if self.blank_lines else r"\n", text)
        words = [found for paragraph in paragraphs if (found := words_of(paragraph))]
        if not words:
            raise ConfigError(f"{path} holds no word; allowed are texts with some.")
        return words

    def blank_batch(self, size: int) -> Batch:
        """Centers [size], contexts [size] and negatives [size, K] on the device `meta`."""
        shapes = ([size], [size], [size, self.num_negatives])
        return tuple(torch.empty(shape, dtype=torch.int64, device="meta") for shape in shapes)

    def describe(self) -> str:
        """What was read, in a line."""
        return f"{super().describe()} (pairs), {int(self.row_counts[0].sum()):,} words of {self.vocab_size:,} kinds"


class SkipGramPairs:
    """The pairs of a text, drawn anew in every epoch.

    Args:
        text: in numbers.
        keep: probability of each word to stay in an epoch.
        window: how far neighbours may stand.
        noise: draws the negatives.
        negatives: how many for each pair.
        vocab_size: number of words.
        seed: of the draw that says how many pairs an epoch has, and of the fixed pairs.
    """

    def __init__(
        self, text: Text, keep: np.ndarray, window: int, noise: NoiseWords, negatives: int, vocab_size: int, seed: int
    ) -> None:
        self.text, self.keep, self.window, self.noise = text, keep, window, noise
        self.negatives, self.vocab_size, self.seed = negatives, vocab_size, seed
        self.device = torch.device("cpu")
        self.count = len(self._draw(np.random.default_rng([seed])))

    def __len__(self) -> int:
        return self.count

    def to(self, device: torch.device) -> Self:
        """Batches will come on this device."""
        self.device = device
        return self

    def order(self, seed: int | None, epoch: int) -> Tensor:
        """The pairs of an epoch, shuffled: center * vocab_size + context, int64 [len]."""
        generator = np.random.default_rng([seed or 0, epoch, 2])
        pairs = generator.permutation(self._draw(generator))
        return torch.from_numpy(np.resize(pairs, self.count))

    def batches(self, order: Tensor, bounds: Bounds) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The pairs `order[start:stop]` of each pair of bounds, with negatives that depend on the order and start."""
        key = zlib.crc32(order.numpy().tobytes())
        for start, stop in bounds:
            pairs = order[start:stop]
            drawn = self.noise.draw((stop - start, self.negatives), np.random.default_rng([key, start]))
            batch = (pairs // self.vocab_size, pairs % self.vocab_size, torch.from_numpy(drawn))
            centers, contexts, negatives = (numbers.to(self.device) for numbers in batch)
            yield centers, contexts, negatives

    def fixed(self) -> Records:
        """The pairs of one draw with their negatives, in the order of the text."""
        generator = np.random.default_rng([self.seed])
        pairs = torch.from_numpy(self._draw(generator))
        drawn = torch.from_numpy(self.noise.draw((len(pairs), self.negatives), generator))
        narrow = (pairs // self.vocab_size, pairs % self.vocab_size, drawn)
        return Records(*(numbers.to(torch.int32) for numbers in narrow))

    def _draw(self, generator: np.random.Generator) -> np.ndarray:
        centers, contexts = self.text.thinned(self.keep, generator).pairs(self.window, generator)
        return centers * self.vocab_size + contexts
