"""Texts as streams of strings, so that a corpus need not fit in memory."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

Stream = Callable[[], Iterator[str]]
"""Begins a text from its start with every call; where its strings end means nothing."""

PIECE = 2**20
"""Characters in a piece, about."""

BREAK = re.compile(r"(?<=\n)(?=\S)|(?<=\S)(?= \S)")
"""Where a text may be cut so that its parts have the tokens that it has itself: before a line, or before a word."""


def pieces(stream: Stream, size: int = PIECE) -> Iterator[str]:
    """The same text in strings of at least `size` characters (but for the last), cut where no token is cut."""
    held: list[str] = []
    length = 0
    for chunk in stream():
        held.append(chunk)
        length += len(chunk)
        if length >= 2 * size:
            text = "".join(held)
            start = 0
            while (found := BREAK.search(text, start + size)) is not None:
                yield text[start : found.start()]
                start = found.start()
            held, length = [text[start:]], len(text) - start
    if length:
        yield "".join(held)


def length(stream: Stream) -> int:
    """Characters in a text."""
    return sum(map(len, stream()))


def joined(streams: Iterable[Stream]) -> Stream:
    """One text after the other."""
    kept = list(streams)
    return lambda: (chunk for stream in kept for chunk in stream())


def between(stream: Stream, start: int, stop: int) -> Stream:
    """The characters from `start` to before `stop`."""

    def part() -> Iterator[str]:
        place = 0
        for chunk in stream():
            if place >= stop:
                return
            if found := chunk[max(0, start - place) : stop - place]:
                yield found
            place += len(chunk)

    return part


def split(given: Mapping[str, Stream], validation_fraction: float, test_fraction: float) -> dict[str, Stream]:
    """The texts of train, val and test; what is not given is cut from the end of the training text.

    The validation text is the last `validation_fraction` of its characters, as in nanoGPT, and the test text the
    `test_fraction` before that. Without a test text, given or cut, the validation text is the test once more.

    Args:
        given: train, and where they exist validation and test.
        validation_fraction: share of the training text.
        test_fraction: share of the training text.
    """
    parts = {"train": given["train"]}
    val = 0.0 if "validation" in given else validation_fraction
    test = 0.0 if "test" in given else test_fraction
    if val or test:
        whole = given["train"]
        count = length(whole)
        last = int(count * (1 - val))
        middle = max(0, last - round(count * test))
        parts["train"] = between(whole, 0, middle)
        parts["test"] = between(whole, middle, last)
        parts["val"] = between(whole, last, count)
    if "validation" in given or "val" not in parts:
        parts["val"] = given.get("validation", lambda: iter(()))
    if "test" in given or not test:
        parts["test"] = given.get("test", parts["val"])
    return parts
