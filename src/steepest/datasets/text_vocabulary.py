"""Tokenizers by bytes, by characters and by words."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from steepest.datasets.data import require
from steepest.errors import ConfigError, shown

UNKNOWN, END = "<unk>", "<eos>"
PADDING = "<pad>"
MARKS = re.compile(r"\w+|[^\w\s]+")
"""Runs of letters and digits, and runs of other marks: NLTK's WordPunctTokenizer."""


def narrowest(size: int) -> np.dtype:
    """The smallest type that numbers below `size` are kept in: uint8, uint16 or int32."""
    return np.dtype(np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.int32)


class ByteTokenizer:
    """The 256 bytes of UTF-8. Decoding gives the text back; bytes that are none become U+FFFD."""

    vocab_size = 256

    def encode(self, text: str) -> np.ndarray:
        """Tokens [T]."""
        return np.frombuffer(text.encode("utf-8"), np.uint8)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens [T]."""
        return bytes(map(int, tokens)).decode("utf-8", errors="replace")

    def state(self) -> dict[str, Any]:
        """All that makes it again."""
        return {"kind": "byte"}


class CharTokenizer:
    """Characters, in the order of Unicode.

    Args:
        characters: the vocabulary.
    """

    def __init__(self, characters: str) -> None:
        self.characters = characters
        self.vocab_size = len(characters)
        points = np.frombuffer(characters.encode("utf-32-le"), np.uint32)
        self._number = np.full(int(points.max(initial=0)) + 2, -1, np.int32)  # the last one: no character
        self._number[points] = np.arange(len(points))

    @classmethod
    def train(cls, pieces: Iterable[str]) -> "CharTokenizer":
        """All characters of a text."""
        found: set[str] = set()
        for piece in pieces:
            found |= set(piece)
        return cls("".join(sorted(found)))

    def encode(self, text: str) -> np.ndarray:
        """Tokens [T].

        Raises:
            ConfigError: a character that is none of the vocabulary.
        """
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        numbers = self._number[np.minimum(points, len(self._number) - 1)]
        if len(numbers) and numbers.min() < 0:
            stranger = text[int(numbers.argmin())]
            raise ConfigError(
                f"The character {stranger!r} is not one of the {self.vocab_size} of dataset.tokenizer=char; allowed "
                "are those of its text."
            )
        return numbers.astype(narrowest(self.vocab_size))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens [T]."""
        return "".join(self.characters[int(token)] for token in tokens)

    def state(self) -> dict[str, Any]:
        """All that makes it again."""
        return {"kind": "char", "characters": self.characters}


class WordTokenizer:
    """Words between white space. Decoding gives them back with single spaces.

    Args:
        words: the vocabulary. `<unk>` stands for all other words; `<eos>`, where it is among them, for the end of a
            line; and `<pad>` for what no text holds.
        marks: words are runs of letters and digits, or runs of other marks, wherever white space is.
        lowercase: the text is turned to lower case.
    """

    def __init__(self, words: Sequence[str], marks: bool = False, lowercase: bool = False) -> None:
        self.words, self.marks, self.lowercase = list(words), marks, lowercase
        self.vocab_size = len(self.words)
        self._number = {word: number for number, word in enumerate(self.words) if word != PADDING}
        self._unknown = self._number[UNKNOWN]
        self._lines = END in self._number

    @classmethod
    def train(
        cls,
        pieces: Iterable[str],
        specials: Sequence[str],
        vocab_size: int | None,
        min_count: int,
        marks: bool = False,
        lowercase: bool = False,
    ) -> "WordTokenizer":
        """The special words, then those of a text, the most frequent first (of equals, in the order of Unicode).

        Args:
            pieces: of the text.
            specials: such as `<unk>`.
            vocab_size: of the special and the most frequent words together, at most; None: all words.
            min_count: rarer words are unknown.
            marks: as the class has it.
            lowercase: as the class has it.
        """
        least = len(specials) + 1
        fits = vocab_size is None or vocab_size >= least
        require(fits, "vocab_size", vocab_size, f"null and whole numbers from {least} with dataset.tokenizer=word")
        counts: Counter[str] = Counter()
        for piece in pieces:
            counts.update(_words(piece, marks, lowercase))
        for special in specials:
            counts.pop(special, None)
        ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        room = None if vocab_size is None else vocab_size - len(specials)
        return cls([*specials, *(word for _, word in ranked[:room])], marks, lowercase)

    def encode(self, text: str) -> np.ndarray:
        """Tokens [T]; the end of a line is one where the vocabulary has it."""
        if self._lines:
            text = text.replace("\n", f" {END} ")
        number, unknown = self._number, self._unknown
        found = [number.get(word, unknown) for word in _words(text, self.marks, self.lowercase)]
        return np.array(found, narrowest(self.vocab_size))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens [T]."""
        words = (self.words[int(token)] for token in tokens)
        return re.sub(r" ?\n ?", "\n", " ".join("\n" if word == END and self._lines else word for word in words))

    def state(self) -> dict[str, Any]:
        """All that makes it again."""
        return {"kind": "word", "words": self.words, "marks": self.marks, "lowercase": self.lowercase}


def _words(text: str, marks: bool, lowercase: bool) -> list[str]:
    text = text.lower() if lowercase else text
    return MARKS.findall(text) if marks else text.split()


def require_no_size(kind: str, vocab_size: int | None) -> None:
    """Raise ConfigError unless the size is left to a tokenizer whose text decides it."""
    if vocab_size is not None:
        raise ConfigError(
            f"dataset.vocab_size={shown(vocab_size)} is not possible with dataset.tokenizer={kind}; allowed is null."
        )
