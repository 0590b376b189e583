"""Paragraphs of Python's own documentation, and the topic that each is from."""

import re
from collections.abc import Sequence

from steepest.datasets.data import is_count, require
from steepest.datasets.order import holdout
from steepest.datasets.text_labelled import LabelledData, Rows
from steepest.datasets.text_python_docs import digest, paragraphs

TEST_FRACTION = 0.2
TEST_SEED = 0  # the test part is part of what this data set is, so no option changes it
LEAST_WORDS = 5

RULE = re.compile(r"^ *([*=\-~^\"#])\1{2,} *$", re.MULTILINE)
"""The line below a heading."""


class PythonTopics(LabelledData):
    """Which of the largest topics of Python's help a paragraph is from. Needs no file and no net.

    Headings are left out, and so are paragraphs of fewer than five words and those that stand in several topics (but
    in their first one). A fifth of the paragraphs, drawn at random once and for all, is the test part. Another version
    of Python has another text.

    Args:
        topics: how many; those with the most paragraphs.
        tokenizer, lowercase, vocab_size, min_count, context_length, word_dropout, validation_fraction, split_seed,
            cache_dir, name, eval_batch_size: of `LabelledData`.
    """

    def __init__(
        self,
        topics: int,
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
        super().__init__(
            tokenizer,
            lowercase,
            vocab_size,
            min_count,
            context_length,
            word_dropout,
            validation_fraction,
            split_seed,
            cache_dir,
            name,
            eval_batch_size,
        )
        known = len(paragraphs())
        require(is_count(topics, 2) and topics <= known, "topics", topics, f"whole numbers from 2 to {known}")
        self.topics = topics

    def rows(self) -> tuple[dict[str, Rows], Sequence[str]]:
        """The paragraphs of the largest topics."""
        found = {topic: [text for text in texts if _is_prose(text)] for topic, texts in paragraphs().items()}
        names = sorted(sorted(found, key=lambda topic: -len(found[topic]))[: self.topics])
        every = Rows([], [])
        for topic in names:
            every.texts += found[topic]
            every.labels += [topic] * len(found[topic])
        train, test = holdout(len(every.texts), TEST_FRACTION, TEST_SEED)
        return {"train": every.subset(train), "test": every.subset(test)}, names

    def decides(self) -> list[str | int]:
        """The text's digest, and how much of it is used."""
        return [digest(), self.topics]

    def describe(self) -> str:
        """What was read, in a line."""
        return f"{super().describe()}; text {digest()}"


def _is_prose(paragraph: str) -> bool:
    return len(re.findall(r"\w+", paragraph)) >= LEAST_WORDS and not RULE.search(paragraph)
