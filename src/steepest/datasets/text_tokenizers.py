"""Tokenizers: what turns a text into numbers and back."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from steepest.datasets.text_streams import Stream, joined, pieces
from steepest.datasets.text_vocabulary import (
    END,
    UNKNOWN,
    ByteTokenizer,
    CharTokenizer,
    WordTokenizer,
    require_no_size,
)
from steepest.errors import ConfigError, listed, shown

KINDS = ("byte", "char", "word", "bpe")
LABELLED_KINDS = ("word", "wordpunct", "bpe")


class Tokenizer(Protocol):
    """Numbers for a text, and the text of numbers."""

    vocab_size: int

    def encode(self, text: str) -> np.ndarray:
        """Tokens [T], as uint8, uint16 or int32."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens [T]."""
        ...

    def state(self) -> dict[str, Any]:
        """All that makes it again, as plain values."""
        ...


def require_kind(kind: str, kinds: Sequence[str] = KINDS) -> None:
    """Raise ConfigError for an unknown tokenizer."""
    if kind not in kinds:
        raise ConfigError(f"dataset.tokenizer={shown(kind)} is unknown; allowed are {listed(kinds)}.")


def version_of(kind: str) -> str | None:
    """Of the library behind a tokenizer."""
    if kind != "bpe":
        return None
    from steepest.datasets.text_bpe import VERSION

    return VERSION


def train(kind: str, texts: dict[str, Stream], vocab_size: int | None, min_count: int) -> Tokenizer:
    """The tokenizer of a language model, with the vocabulary of its training text.

    The characters of `char` are those of all texts, as in nanoGPT, so that none is unknown.

    Args:
        kind: byte, char, word or bpe.
        texts: train, val and test.
        vocab_size: of word, at most; of bpe.
        min_count: of word: rarer words are unknown.
    """
    require_kind(kind)
    if kind in ("byte", "char"):
        require_no_size(kind, vocab_size)
        return ByteTokenizer() if kind == "byte" else CharTokenizer.train(pieces(joined(texts.values())))
    if kind == "word":
        return WordTokenizer.train(pieces(texts["train"]), (UNKNOWN, END), vocab_size, min_count)
    from steepest.datasets.text_bpe import TEXT_END, BpeTokenizer

    return BpeTokenizer.train(pieces(texts["train"]), (TEXT_END,), vocab_size)


def train_labelled(
    kind: str, texts: Sequence[str], specials: Sequence[str], vocab_size: int | None, min_count: int, lowercase: bool
) -> Tokenizer:
    """The tokenizer of a classifier.

    Args:
        kind: word; wordpunct, words and runs of other marks (as NLTK's tokenizer of that name); or bpe.
        texts: of the training part.
        specials: the first tokens.
        vocab_size: of words, at most; of bpe.
        min_count: of words: rarer ones are unknown.
        lowercase: texts are turned to lower case.
    """
    require_kind(kind, LABELLED_KINDS)
    if kind != "bpe":
        return WordTokenizer.train(texts, specials, vocab_size, min_count, kind == "wordpunct", lowercase)
    from steepest.datasets.text_bpe import BpeTokenizer

    return BpeTokenizer.train(texts, specials, vocab_size, lowercase, apart=True)


def restore(state: dict[str, Any]) -> Tokenizer:
    """A tokenizer from its state."""
    values = {key: value for key, value in state.items() if key != "kind"}
    if state["kind"] == "bpe":
        from steepest.datasets.text_bpe import BpeTokenizer

        return BpeTokenizer.restore(**values)
    made: dict[str, Any] = {"byte": ByteTokenizer, "char": CharTokenizer, "word": WordTokenizer}
    return made[state["kind"]](**values)
