"""How the layers of a model train, over time."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steepest.pictures.look import GREY, PALE, headed, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("grad_rms", "Gradient RMS", "viridis"),
    ("update_ratio", "Update RMS / weight RMS", "magma"),
    ("cosine", "Cosine of update and descent", "coolwarm_r"),
)
NAMED = 90
"""Up to so many layers each is named; beyond that every so-manieth."""
LONGEST = 40
WIDE, GAP = 3.1, 0.85
"""Inches of a panel, and to the next one."""
WIDEST = 1e4
"""The largest over the smallest value with a colour of its own."""


def layer_map(rows: Sequence[Mapping[str, Any]]) -> "Figure | None":
    """Layers from the input (top) to the output over the measured steps, a colour a value; None: nothing was measured.

    Args:
        rows: of metrics.jsonl; those with `layers/<name>/<measure>` count.
    """
    import numpy as np
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.ticker import FuncFormatter, NullFormatter

    measured = [row for row in rows if any(key.startswith("layers/") for key in row)]
    if not measured:
        return None
    names = list(dict.fromkeys(key.split("/", 1)[1].rpartition("/")[0] for row in measured for key in row
                               if key.startswith("layers/")))  # fmt: skip
    # Places are told: finding them for many names takes seconds.
    names_wide, tall = 0.3 + 0.058 * max(len(cut(name)) for name in names), max(1.4, min(13.5, 0.16 * len(names)))
    width, height = names_wide + len(PANELS) * (WIDE + GAP), tall + 0.95
    figure = new_figure(width, height, layout=None)
    steps = [row["opt_step"] for row in measured]
    for place, (measure, title, colours) in enumerate(PANELS):
        left = names_wide + place * (WIDE + GAP)
        panel = figure.add_axes((left / width, 0.55 / height, WIDE / width, tall / height))
        values = np.array([[number(row.get(f"layers/{name}/{measure}")) for row in measured] for name in names])
        positive = values[np.isfinite(values) & (values > 0)]
        norm: Any = Normalize(-1, 1)
        if measure != "cosine":
            high = positive.max() if positive.size else 1.0
            low = max(positive.min(), high / WIDEST) if positive.size else high
            norm = LogNorm(min(low, high / 10), high)
            values = np.where(values > 0, values, np.nan)
        panel.set_facecolor(PALE)
        image = panel.imshow(values, aspect="auto", cmap=colours, norm=norm, interpolation="nearest")
        plain(panel)
        headed(panel, title)
        beside = figure.add_axes(((left + WIDE + 0.08) / width, 0.55 / height, 0.12 / width, tall / height))
        bar = figure.colorbar(image, cax=beside)
        bar.outline.set_visible(False)
        bar.formatter = FuncFormatter(
            lambda value, _: f"{value:g}"
        )  # powers would have to be typeset, which takes long
        bar.minorformatter = NullFormatter()
        bar.ax.tick_params(colors=GREY, labelsize=8, length=0, which="both")
        shown = sorted({round(k * (len(steps) - 1) / 4) for k in range(5)})
        if place:
            panel.set_yticks([])
        else:
            every = -(-len(names) // NAMED)
            panel.set_yticks(range(0, len(names), every), [cut(name) for name in names[::every]], fontsize=7)
        panel.set_xticks(shown, [f"{steps[k]:,}" for k in shown])
    said = "optimizer step; grey: no value, or zero"
    figure.text(names_wide / width, 0.12 / height, said, fontsize=9, color=GREY)
    return figure


def number(value: Any) -> float:
    """The value; NaN for none."""
    return float("nan") if value is None else float(value)


def cut(name: str) -> str:
    """The name, its middle left out where it is too long."""
    return name if len(name) <= LONGEST else f"{name[:12]}…{name[13 - LONGEST :]}"
