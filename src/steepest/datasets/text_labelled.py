"""What all data sets for text classification share: tokens on disk, and batches as wide as their longest text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.datasets import text_tokenizers
from steepest.datasets.data import Data, is_count, require
from steepest.datasets.loader import Batch
from steepest.datasets.order import holdout
from steepest.datasets.text_batches import UNKNOWN, LabelledTexts
from steepest.datasets.text_dropout import WordDropout
from steepest.datasets.text_labels import numbered
from steepest.datasets.text_store import Store, Stored
from steepest.datasets.text_tokenizers import LABELLED_KINDS, Tokenizer
from steepest.datasets.text_vocabulary import PADDING, narrowest
from steepest.datasets.text_vocabulary import UNKNOWN as UNKNOWN_WORD
from steepest.errors import ConfigError


@dataclass
class Rows:
    """Texts, and the label of each: a name or a number."""

    texts: list[str]
    labels: list[Any]

    def subset(self, indices: torch.Tensor) -> "Rows":
        """These rows."""
        chosen = indices.tolist()
        return Rows([self.texts[row] for row in chosen], [self.labels[row] for row in chosen])


class LabelledData(Data):
    """Base of the texts for classification; one says in `rows` what they are, in `decides` what decides them.

    Batches are (tokens int64 [B, T], labels int64 [B]), as `LabelledTexts` says; token 0 is padding and 1 an unknown
    word. A text without a word is one unknown word. Texts are tokenised once, and memory-mapped.

    Args:
        tokenizer: word (between white space), wordpunct (words and runs of other marks), or bpe, learned from the
            training part.
        lowercase: texts are turned to lower case.
        vocab_size: of words, at most (null: all), or of bpe.
        min_count: rarer words are unknown.
        context_length: tokens of a text; what is longer is cut off.
        word_dropout: probability of a word to be unknown in training.
        validation_fraction: share of the training part that is held out, where there is no other validation part.
        split_seed: of this split, the same for every run seed.
        cache_dir: for tokens.
        name: of the data set, for messages and files.
        eval_batch_size: texts at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    vocab_size: int
    num_classes: int
    class_names: list[str]
    tokenizer: Tokenizer
    """Encodes and decodes."""
    augmented: Any = None

    def __init__(
        self,
        tokenizer: str,
        lowercase: bool,
        vocab_size: int | None,
        min_count: int,
        context_length: int,
        word_dropout: float,
        validation_fraction: float,
        split_seed: int,
        cache_dir: str,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, eval_batch_size)
        text_tokenizers.require_kind(tokenizer, LABELLED_KINDS)
        require(isinstance(lowercase, bool), "lowercase", lowercase, "true and false")
        sized = vocab_size is None or is_count(vocab_size, 1)
        require(sized, "vocab_size", vocab_size, "null and whole numbers from 1")
        require(is_count(min_count, 1), "min_count", min_count, "whole numbers from 1")
        require(is_count(context_length, 1), "context_length", context_length, "whole numbers from 1")
        require(0 <= word_dropout < 1, "word_dropout", word_dropout, "numbers from 0 to below 1")
        require(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "numbers from 0 to below 1")
        require(is_count(split_seed, 0), "split_seed", split_seed, "whole numbers from 0")
        self.kind = tokenizer
        self.lowercase = lowercase
        self.given_vocab_size = vocab_size
        self.min_count = min_count
        self.context_length = context_length
        self.augmented = WordDropout(word_dropout) if word_dropout else None
        self.validation_fraction = validation_fraction
        self.split_seed = split_seed
        self.cache_dir = Path(cache_dir)

    def rows(self) -> tuple[dict[str, Rows], Sequence[str] | None]:
        """The parts train, test and, where there is one, val; and the names of the classes, where they are known.

        Raises:
            MissingDataError: the files are not there.
            ConfigError: they are damaged, or do not fit the configuration.
        """
        raise NotImplementedError

    def decides(self) -> Any:
        """What decides these rows, as plain values: the state of files, or a digest.

        Raises:
            MissingDataError: the files are not there.
        """
        raise NotImplementedError

    def read(self) -> dict[str, LabelledTexts]:
        """The texts of the three parts."""
        options = [self.kind, self.lowercase, self.given_vocab_size, self.min_count]
        options += [self.validation_fraction, self.split_seed]
        decides = [self.decides(), options, text_tokenizers.version_of(self.kind)]
        stored = Store(self.cache_dir / "tokens", self.name, decides).get(self._tokenise)
        self.tokenizer = text_tokenizers.restore(stored.meta["tokenizer"])
        self.vocab_size = self.tokenizer.vocab_size
        self.class_names = stored.meta["class_names"]
        self.num_classes = len(self.class_names)
        return {part: self._part(stored, part) for part in ("train", "val", "test")}

    def _part(self, stored: Stored, part: str) -> LabelledTexts:
        tokens, starts, labels = (
            torch.from_numpy(stored.arrays[f"{part}_{kind}"]) for kind in ("tokens", "starts", "labels")
        )
        return LabelledTexts(tokens, starts, labels, self.context_length)

    def _tokenise(self, stored: Stored) -> dict[str, Any]:
        """Read the rows, split, learn the vocabulary of the training part, encode."""
        rows, names = self.rows()
        for part, found in rows.items():
            if not found.texts:
                raise ConfigError(f"dataset={self.name} has no text in its {part} part; allowed is one with some.")
        labels, class_names = numbered({part: found.labels for part, found in rows.items()}, names, self.name)
        rows = {part: Rows(found.texts, labels[part].tolist()) for part, found in rows.items()}
        if "val" not in rows:
            kept, held = holdout(len(rows["train"].texts), self.validation_fraction, self.split_seed)
            rows |= {"train": rows["train"].subset(kept), "val": rows["train"].subset(held)}
        texts = rows["train"].texts
        if not any(text.strip() for text in texts):
            raise ConfigError(f"dataset={self.name} has only empty texts in its training part; allowed are words.")
        specials = (PADDING, UNKNOWN_WORD)
        tokenizer = text_tokenizers.train_labelled(
            self.kind, texts, specials, self.given_vocab_size, self.min_count, self.lowercase
        )
        for part, found in rows.items():
            lengths = [0]
            stored.add(f"{part}_tokens", narrowest(tokenizer.vocab_size), _encode(tokenizer, found.texts, lengths))
            stored.add(f"{part}_starts", np.dtype(np.int64), [np.cumsum(lengths)])
            stored.add(f"{part}_labels", np.dtype(np.int64), [np.array(found.labels)])
        return {"tokenizer": tokenizer.state(), "class_names": class_names}

    def blank_batch(self, size: int) -> Batch:
        """Tokens [size, context_length] and labels [size] on the device `meta`."""
        tokens = torch.empty(size, self.context_length, dtype=torch.int64, device="meta")
        return tokens, tokens[:, 0]

    def describe(self) -> str:
        """What was read, in a line."""
        return f"{super().describe()}, {self.num_classes} classes, {self.vocab_size:,} kinds of tokens ({self.kind})"


def _encode(tokenizer: Tokenizer, texts: Sequence[str], lengths: list[int]) -> Iterator[np.ndarray]:
    """The tokens of each text, whose number is added to `lengths`."""
    for text in texts:
        tokens = tokenizer.encode(text)
        if not len(tokens):
            tokens = np.array([UNKNOWN])
        lengths.append(len(tokens))
        yield tokens
