"""What all data sets for language modelling share: tokens on disk, and windows of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steepest.datasets import text_tokenizers
from steepest.datasets.data import Data, is_count, require
from steepest.datasets.loader import Batch
from steepest.datasets.text_store import Store, Stored
from steepest.datasets.text_streams import Stream, pieces, split
from steepest.datasets.text_tokenizers import Tokenizer
from steepest.datasets.text_vocabulary import narrowest
from steepest.datasets.text_windows import Windows
from steepest.errors import ConfigError


class LanguageData(Data):
    """Base of the texts for language modelling; one says in `streams` where they are, in `decides` what they are.

    Batches are (inputs int64 [B, T], targets int64 [B, T]), as `Windows` says; an example is a window. Texts are
    tokenised in the first run that needs them, and memory-mapped.

    Args:
        tokenizer: byte; char; word (between white space, and <eos> for the end of a line); or bpe, learned from the
            training text.
        vocab_size: of word, at most (null: all words), or of bpe.
        min_count: rarer words are <unk>.
        context_length: tokens in a window (T).
        eval_stride: tokens from one window of validation and test to the next; null: context_length. With fewer, each
            token is predicted from more of those before it, and evaluation costs more.
        validation_fraction, test_fraction: shares of the training text's end, where the source gives no such part; see
            `text_streams.split`.
        cache_dir: for tokens.
        name: of the data set, for messages and files.
        eval_batch_size: windows at once in validation and test, which does not change any result.

    Raises:
        ConfigError: a value out of its range.
    """

    vocab_size: int
    tokenizer: Tokenizer
    """Encodes and decodes."""
    units: dict[str, dict[str, int]]
    """For train, val and test: tokens, bytes (of UTF-8), characters, and words: what white space parts, and one for
    the end of each line, as in WikiText's perplexities. So a loss of L nats a token is L tokens / (bytes ln 2) bits a
    byte, and exp(L tokens / words) the perplexity of a word."""

    def __init__(
        self,
        tokenizer: str,
        vocab_size: int | None,
        min_count: int,
        context_length: int,
        eval_stride: int | None,
        validation_fraction: float,
        test_fraction: float,
        cache_dir: str,
        name: str,
        eval_batch_size: int,
    ) -> None:
        super().__init__(name, eval_batch_size)
        text_tokenizers.require_kind(tokenizer)
        sized = vocab_size is None or is_count(vocab_size, 1)
        require(sized, "vocab_size", vocab_size, "null and whole numbers from 1")
        require(is_count(min_count, 1), "min_count", min_count, "whole numbers from 1")
        require(is_count(context_length, 1), "context_length", context_length, "whole numbers from 1")
        stride = context_length if eval_stride is None else eval_stride
        fits = is_count(stride, 1) and stride <= context_length
        require(fits, "eval_stride", eval_stride, f"null and whole numbers from 1 to {context_length}")
        require(0 <= validation_fraction < 1, "validation_fraction", validation_fraction, "numbers from 0 to below 1")
        left = 1 - validation_fraction
        require(0 <= test_fraction < left, "test_fraction", test_fraction, f"numbers from 0 to below {left:g}")
        self.kind = tokenizer
        self.given_vocab_size = vocab_size
        self.min_count = min_count
        self.context_length = context_length
        self.eval_stride = stride
        self.validation_fraction = validation_fraction
        self.test_fraction = test_fraction
        self.cache_dir = Path(cache_dir)

    def streams(self) -> dict[str, Stream]:
        """The text of `train`, and those of `validation` and `test` where there are some of their own.

        Raises:
            MissingDataError: the files are not there.
            ConfigError: they are damaged, or do not fit the configuration.
        """
        raise NotImplementedError

    def decides(self) -> Any:
        """What decides these texts, as plain values: the state of files, or a digest.

        Raises:
            MissingDataError: the files are not there.
        """
        raise NotImplementedError

    def read(self) -> dict[str, Windows]:
        """The windows of the three parts."""
        options = [self.kind, self.given_vocab_size, self.min_count, self.validation_fraction, self.test_fraction]
        decides = [self.decides(), options, text_tokenizers.version_of(self.kind)]
        stored = Store(self.cache_dir / "tokens", self.name, decides).get(self._tokenise)
        self.tokenizer = text_tokenizers.restore(stored.meta["tokenizer"])
        self.units = stored.meta["counts"]
        self.vocab_size = self.tokenizer.vocab_size
        count = self.units["train"]["tokens"]
        if self.context_length >= count:
            raise ConfigError(
                f"dataset.context_length={self.context_length} is too long for the {count} tokens of the training "
                f"text; allowed are 1 to {count - 1}."
            )
        strides = {"train": None, "val": self.eval_stride, "test": self.eval_stride}
        return {
            part: Windows(stored.arrays[stored.meta["arrays"][part]], self.context_length, stride)
            for part, stride in strides.items()
        }

    def _tokenise(self, stored: Stored) -> dict[str, Any]:
        """Read the texts as streams: count, learn the vocabulary, encode."""
        texts = split(self.streams(), self.validation_fraction, self.test_fraction)
        if not any(chunk for chunk in texts["train"]()):
            raise ConfigError(f"dataset={self.name} has an empty training text; allowed is one with some.")
        tokenizer = text_tokenizers.train(self.kind, texts, self.given_vocab_size, self.min_count)
        counts: dict[str, dict[str, int]] = {}
        arrays: dict[str, str] = {}
        for part, text in texts.items():
            same = next((other for other in arrays if texts[other] is text), None)
            arrays[part] = same or part
            counts[part] = counts[same] if same else dict.fromkeys(("tokens", "bytes", "characters", "words"), 0)
            if not same:
                encoded = self._encode(tokenizer, text, counts[part])
                stored.add(part, narrowest(tokenizer.vocab_size), encoded)
        return {"tokenizer": tokenizer.state(), "counts": counts, "arrays": arrays}

    def _encode(self, tokenizer: Tokenizer, text: Stream, count: dict[str, int]) -> Iterator[np.ndarray]:
        """The tokens of each piece; what it holds is added to the counts."""
        ended = True
        for piece in pieces(text):
            ended = piece.endswith("\n")
            tokens = tokenizer.encode(piece)
            count["tokens"] += len(tokens)
            count["bytes"] += len(piece.encode("utf-8"))
            count["characters"] += len(piece)
            count["words"] += len(tokens) if self.kind == "word" else len(piece.split()) + piece.count("\n")
            yield tokens
        if not ended and self.kind == "word":  # every line has an end, the last one too
            count["tokens"] += 1
            count["words"] += 1
            yield tokenizer.encode("\n")

    def encode(self, text: str) -> list[int]:
        """The tokens of a text."""
        return self.tokenizer.encode(text).tolist()

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        return self.tokenizer.decode(tokens)

    def blank_batch(self, size: int) -> Batch:
        """Inputs [size, T] and targets [size, T] on the device `meta`."""
        tokens = torch.empty(size, self.context_length, dtype=torch.int64, device="meta")
        return tokens, tokens

    def describe(self) -> str:
        """What was read, in a line."""
        counts = ", ".join(f"{part} {count['tokens']:,}" for part, count in self.units.items())
        return (
            f"{super().describe()}, windows of {self.context_length} tokens; tokens: {counts}; "
            f"{self.vocab_size:,} kinds ({self.kind})"
        )
