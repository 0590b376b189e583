"""The text of Python's own documentation, which comes with Python."""

import hashlib
import json
import re
from pydoc_data import topics

from steepest.datasets.language_data import LanguageData
from steepest.datasets.text_streams import Stream


def paragraphs() -> dict[str, list[str]]:
    """The paragraphs of each topic, in the order of the alphabet; one that stands in several is kept in the first."""
    seen: set[str] = set()
    kept: dict[str, list[str]] = {}
    for topic in sorted(topics.topics):
        kept[topic] = []
        for paragraph in re.split(r"\n\s*\n", topics.topics[topic].strip("\n")):
            if (plain := " ".join(paragraph.split())) and plain not in seen:
                seen.add(plain)
                kept[topic].append(paragraph)
    return kept


def digest() -> str:
    """Sixteen hexadecimal digits of the SHA-256 of all topics."""
    return hashlib.sha256(json.dumps(topics.topics, sort_keys=True).encode()).hexdigest()[:16]


class PythonDocs(LanguageData):
    """The topics of Python's help (`pydoc_data.topics`), one after the other. Needs no file and no net.

    The text is another one in other versions of Python; `decides` holds its digest, and so does `describe`.
    """

    def streams(self) -> dict[str, Stream]:
        """The text of all topics."""
        text = "\n\n".join("\n\n".join(found) for found in paragraphs().values() if found) + "\n"
        return {"train": lambda: iter((text,))}

    def decides(self) -> str:
        """The text's digest."""
        return digest()

    def describe(self) -> str:
        """What was read, in a line."""
        return f"{super().describe()}; text {digest()}"
