"""Which class a classifier takes for which."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from steepest.pictures.look import BLUE, GREY, INK, ORANGE, PALE, headed, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COUNTED, NAMED = 15, 120
"""Up to so many classes the cells say their numbers, and the edges their names."""
LISTED = 14
"""So many confusions are listed where the cells do not say their numbers."""
LONGEST = 34
"""Letters of a name; longer ones lose their middle."""


def confusion_matrix(counts: Any, names: Sequence[str]) -> "Figure":
    """True classes as rows, predicted ones as columns; right is blue and wrong is orange.

    The colour of a cell says its share of its row, on a scale of square roots for the wrong ones, so that a few
    mistakes are seen. Where there are too many classes to write numbers, the worst mistakes stand beside.

    Args:
        counts: [K, K], how many examples of class i were taken for class j; an array or a tensor.
        names: of the K classes.

    Raises:
        ValueError: counts and names do not fit.
    """
    import numpy as np

    table = np.asarray(counts.cpu() if hasattr(counts, "cpu") else counts).astype(np.int64)
    if table.shape != (len(names), len(names)):
        raise ValueError(f"counts of shape {list(table.shape)} for {len(names)} names")
    names = [cut(str(name)) for name in names]
    panel = numbered(table, names) if len(names) <= COUNTED else listed(table, names)
    panel.imshow(coloured(table), interpolation="nearest" if len(names) <= NAMED else "auto")
    total, right = int(table.sum()), int(table.trace())
    headed(panel, "Confusion matrix", f"{right:,} of {total:,} right ({right / max(total, 1):.2%})")
    panel.set_xlabel("predicted", color=GREY)
    panel.set_ylabel("true", color=GREY)
    found = panel.get_figure()
    assert found is not None
    return found  # type: ignore[return-value]


def cut(name: str) -> str:
    """The name, its middle left out where it is too long."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[1 - LONGEST // 2 :]}"


def numbered(table: Any, names: Sequence[str]) -> "Axes":
    """A panel for a few classes, with the number of each cell."""
    import numpy as np

    size = len(names)
    side = 1.4 + 0.42 * size
    flat = max(map(len, names)) <= 4
    beside = 0.6 + 0.09 * max(map(len, names))
    below = 0.75 if flat else beside
    width, height = max(4.4, beside + side + 0.15), below + side + 0.6
    figure = new_figure(width, height, layout=None)
    panel = figure.add_axes((beside / width, below / height, side / width, side / height))
    plain(panel)
    panel.set_xticks(range(size), names, rotation=0 if flat else 90)
    panel.set_yticks(range(size), names)
    panel.set_xticks(np.arange(1, size) - 0.5, minor=True)
    panel.set_yticks(np.arange(1, size) - 0.5, minor=True)
    panel.grid(which="minor", color="white", linewidth=1.5)
    letters = min(9.0, 30 / max(len(f"{table.max():,}"), 1))
    share = table / table.sum(1, keepdims=True).clip(1)
    for i, j in zip(*table.nonzero(), strict=True):
        colour = "white" if share[i, j] > 0.55 else INK
        panel.text(j, i, f"{table[i, j]:,}", ha="center", va="center", fontsize=letters, color=colour)
    return panel


def listed(table: Any, names: Sequence[str]) -> "Axes":
    """A panel for many classes, and beside it the worst mistakes; places are told, since finding them takes long."""
    size = len(names)
    named = size <= NAMED
    side = 7.5 if not named else min(9.5, 4.5 + 0.06 * size)
    letters = min(8.0, 0.8 * side * 72 / size)
    longest = max(map(len, names))
    left = 0.45 + (longest + 4) * 0.58 * letters / 72 if named else 0.7
    width, height = left + side + 1.0 + max(2.9, 0.066 * (2 * longest + 3)), side + 1.25
    figure = new_figure(width, height, layout=None)
    panel = figure.add_axes((left / width, 0.65 / height, side / width, side / height))
    plain(panel)
    list_confusions(panel, table, names)
    if named:
        panel.set_yticks(range(size), [f"{name}  {k}" for k, name in enumerate(names)], fontsize=letters)
        every = 1 if size <= 50 else 2 if size <= 80 else 5
        panel.set_xticks(range(0, size, every))
    return panel


def coloured(table: Any) -> Any:
    """The colours of the cells, [K, K, 3] from 0 to 1; a class without examples is grey."""
    import numpy as np
    from matplotlib.colors import to_rgb

    rows = table.sum(1, keepdims=True)
    share = table / np.maximum(rows, 1)
    right = np.eye(len(table), dtype=bool)
    strength = np.where(right, share, np.sqrt(share))[..., None]
    full = np.where(right[..., None], to_rgb(BLUE), to_rgb(ORANGE))
    return np.where((rows == 0)[..., None], to_rgb(PALE), 1 - strength + strength * full)


def list_confusions(panel: "Axes", table: Any, names: Sequence[str]) -> None:
    """Write the most frequent mistakes, and the classes with the lowest share of right answers, at a panel's right."""
    import numpy as np

    wrong = table * (1 - np.eye(len(table), dtype=int))
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    pairs = [(i, j) for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True) if wrong[i, j]]
    rows = table.sum(1)
    share = np.where(rows > 0, table.diagonal() / np.maximum(rows, 1), np.inf)
    worst = [k for k in np.argsort(share, kind="stable")[:LISTED] if share[k] < 1]
    lines = [("", "Most frequent mistakes: true → predicted")]
    lines += [(f"{wrong[i, j]:,}", f"{names[i]} → {names[j]}") for i, j in pairs]
    lines += [("", ""), ("", "Least often right, and their examples")]
    lines += [(f"{share[k]:.0%}", f"{names[k]} ({rows[k]:,})") for k in worst]
    for number, (amount, text) in enumerate(lines):
        place = {"xy": (1, 1), "xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "fontsize": 8}
        weight, colour, at = ("normal", GREY, 58) if amount else ("bold", INK, 22)
        panel.annotate(amount, xytext=(52, -14 * number), ha="right", color=INK, **place)  # type: ignore[arg-type]
        panel.annotate(text, xytext=(at, -14 * number), fontweight=weight, color=colour, **place)  # type: ignore[arg-type]
