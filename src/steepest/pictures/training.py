"""The curves of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steepest.pictures.look import GREY, INK, MORE, ORANGE, headed, new_figure, ruled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
Series = tuple[list[float], list[float]]
"""Steps and values."""
FEW = 40
"""Up to so many points, each is a dot."""
HEIGHTS = {"loss": 2.6, "headline": 2.2, "lr": 1.0}
WIDTH, LEFT, ABOVE, BELOW = 8.0, 0.85, 0.45, 0.55
"""Inches of the panels, of the whole, and of what is beside, above and below them."""


def training_curves(rows: Rows, headline: tuple[str, str]) -> "Figure":
    """Losses, the headline and the learning rate over optimizer steps; what a run does not have is left out.

    Args:
        rows: of metrics.jsonl; values that are missing, null or not finite leave a gap.
        headline: name of the metric and "max" or "min".
    """
    name, direction = headline
    losses = [key for key in keys(rows) if key.startswith("train/") and "loss" in key and key != "train/initial_loss"]
    losses += [key for key in ("val/loss",) if series(rows, key)[0]]
    short = name.partition("/")[2]
    measures = [key for key in keys(rows) if key == f"train/{short}" or key == name or in_training(key, short)]
    measures = [key for key in measures if key not in losses and series(rows, key)[0]]
    kinds = [kind for kind, has in (("loss", losses), ("headline", measures), ("lr", series(rows, "lr")[0])) if has]
    # Places are told: finding them costs as much as drawing.
    height = BELOW + sum(HEIGHTS[kind] + ABOVE for kind in kinds) if kinds else 2.0
    figure = new_figure(WIDTH, height, layout=None)
    if not kinds:
        figure.text(0.5, 0.5, "no rows", ha="center", color=GREY)
        return figure
    last: Any = None
    top = height
    for kind in kinds:
        top -= HEIGHTS[kind] + ABOVE
        place = (LEFT / WIDTH, top / height, 1 - (LEFT + 0.15) / WIDTH, HEIGHTS[kind] / height)
        last = figure.add_axes(place, sharex=last)
        panel = last
        panel.tick_params(labelbottom=kind == kinds[-1])
        ruled(panel)
        if kind == "loss":
            draw(panel, rows, losses, "Loss")
        elif kind == "headline":
            draw(panel, rows, measures, name)
            mark_best(panel, series(rows, name), direction, test_value(rows, name))
        else:
            steps, rates = series(rows, "lr")
            panel.plot(steps, rates, color=GREY, linewidth=1.4, marker="o" if len(steps) == 1 else None, markersize=3.5)
            headed(panel, "Learning rate")
            panel.set_ylim(bottom=0, top=1.08 * max(*rates, 1e-30))
    last.set_xlabel("optimizer step", color=GREY)
    last.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    last.xaxis.set_major_formatter("{x:,.0f}")
    return figure


def draw(panel: "Axes", rows: Rows, names: Sequence[str], title: str) -> None:
    """Draw several metrics into a panel, the names beside the title in the colours of the curves."""
    values = []
    right: Any = None
    headed(panel, title)
    for number, key in enumerate(names):
        steps, found = series(rows, key, gaps=True)
        colour = ORANGE if key.startswith("val/") else [c for c in MORE if c != ORANGE][number % (len(MORE) - 1)]
        dots: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(steps) <= FEW else {}
        panel.plot(steps, found, color=colour, linewidth=1.5, **dots)
        values += [value for value in found if math.isfinite(value)]
        place: dict[str, Any] = {"xy": (1, 1), "xytext": (0, 7), "xycoords": "axes fraction"}
        if right is not None:
            place = {"xy": (0, 0), "xytext": (-10, 0), "xycoords": right}
        look: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": 9, "color": colour}
        right = panel.annotate(key, textcoords="offset points", **place, **look)
    if values and min(values) > 0 and max(values) > (10 if title == "Loss" else 1000) * min(values):
        panel.set_yscale("log")
        readable_log(panel, min(values), max(values))


def in_training(key: str, short: str) -> bool:
    """Whether it is what validation calls `short`, under a longer name: train/episodic_return is val/return."""
    return key.startswith("train/") and key.endswith(f"_{short}")


def readable_log(panel: "Axes", low: float, high: float) -> None:
    """Let a logarithmic axis say plain numbers, also within a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    decades = math.log10(high / low)
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=8))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_minor_formatter(NullFormatter())


def mark_best(panel: "Axes", curve: Series, direction: str, test: float | None) -> None:
    """Mark the best point of the headline, and say it and what the test found."""
    steps, values = curve
    if not values:
        return
    at = (max if direction == "max" else min)(range(len(values)), key=values.__getitem__)
    panel.plot(steps[at], values[at], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK)
    said = f"best {values[at]:.4g} at step {steps[at]:,}, last {values[-1]:.4g}"
    said += f", test {test:.4g}" if test is not None else ""
    high = values[-1] > (min(values) + max(values)) / 2  # the free corner is at the lower right, or at the upper right
    panel.text(
        0.99, 0.04 if high else 0.96, said, transform=panel.transAxes, ha="right", va="bottom" if high else "top",
        fontsize=9, color=GREY,
    )  # fmt: skip


def test_value(rows: Rows, name: str) -> float | None:
    """What the test found for the metric that validation calls `name`."""
    _, values = series(rows, f"test/{name.partition('/')[2]}")
    return values[-1] if values else None


def keys(rows: Rows) -> list[str]:
    """The names of all metrics, in the order in which they came."""
    return list(dict.fromkeys(key for row in rows for key in row))


def series(rows: Rows, key: str, gaps: bool = False) -> Series:
    """The steps and values of a metric, sorted by step; what is not finite is NaN, or with `gaps` false left out."""
    found = [(row["opt_step"], math.nan if row[key] is None else float(row[key])) for row in rows if key in row]
    found = sorted((pair for pair in found if gaps or math.isfinite(pair[1])), key=lambda pair: pair[0])
    return [step for step, _ in found], [value if math.isfinite(value) else math.nan for _, value in found]
