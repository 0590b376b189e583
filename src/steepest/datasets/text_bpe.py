"""Byte pair encoding, by the library `tokenizers`."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from steepest.datasets.data import is_count, require
from steepest.datasets.text_vocabulary import narrowest

# The library's threads would be lost in a forked process, which then waits for them for ever.
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

VERSION = tokenizers.__version__
TEXT_END = "<|endoftext|>"


class BpeTokenizer:
    """Bytes that are joined, pair by pair, to frequent parts of words. Decoding gives the text back.

    Sennrich et al. 2016, arXiv:1508.07909; on bytes and with the words of Radford et al. 2019 (GPT-2).

    Args:
        tokenizer: of the library.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.vocab_size = tokenizer.get_vocab_size()

    @classmethod
    def train(
        cls,
        pieces: Iterable[str],
        specials: Sequence[str],
        vocab_size: int | None,
        lowercase: bool = False,
        apart: bool = False,
    ) -> "BpeTokenizer":
        """Learn the pairs of a text.

        Args:
            pieces: of the text.
            specials: the first tokens.
            vocab_size: special tokens, bytes and pairs together; fewer where the text has no more pairs.
            lowercase: the text is turned to lower case.
            apart: a special token that is written in a text is text.
        """
        least = 256 + len(specials)
        fits = vocab_size is not None and is_count(vocab_size, least)
        require(fits, "vocab_size", vocab_size, f"whole numbers from {least} with dataset.tokenizer=bpe")
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        if lowercase:
            made.normalizer = normalizers.Lowercase()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size or least,
            special_tokens=list(specials),
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        made.train_from_iterator(pieces, trainer)
        made.encode_special_tokens = apart
        return cls(made)

    def encode(self, text: str) -> np.ndarray:
        """Tokens [T]."""
        (found,) = self.tokenizer.encode_batch_fast(
            [text], add_special_tokens=False
        )  # fast: without places in the text
        return np.array(found.ids, narrowest(self.vocab_size))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens [T]."""
        return self.tokenizer.decode([int(token) for token in tokens], skip_special_tokens=False)

    def state(self) -> dict[str, Any]:
        """All that makes it again."""
        return {"kind": "bpe", "json": self.tokenizer.to_str(), "apart": self.tokenizer.encode_special_tokens}

    @classmethod
    def restore(cls, json: str, apart: bool) -> "BpeTokenizer":
        """From its state."""
        made = Tokenizer.from_str(json)
        made.encode_special_tokens = apart
        return cls(made)
