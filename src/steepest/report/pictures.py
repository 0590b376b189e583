"""Figures as PNG files, on a light background, for a README or a paper: from the frames that the page draws."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from steepest.pictures.look import GREY, INK, PALE, headed, new_figure, ruled
from steepest.report.figures import AXES
from steepest.report.palette import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Looks = Mapping[str, Look]


def curves(file: Path, bands: pd.DataFrame, ends: pd.DataFrame, looks: Looks, axis: str, metric: str) -> None:
    """Mean and band of each group over the run, a cross where a run diverged."""
    with panel(
        file, metric, "mean over runs; band: 95 % t interval, below 5 runs all of them", AXES.get(axis, axis)
    ) as axes:
        for group, part in bands.groupby("group", sort=False):
            axes.plot(part.x, part["mean"], label=f"{plain(group)} (n={part.n.iloc[0]})", **line(looks[str(group)]))
            axes.fill_between(part.x, part.low, part.high, color=looks[str(group)].colour, alpha=0.15, linewidth=0)
        for group, part in ends.groupby("group", sort=False):
            axes.plot(part.x, part.y, "x", color=looks[str(group)].colour, label=f"{plain(group)}: diverged")


def sensitivity(
    file: Path,
    frame: pd.DataFrame,
    typical: Mapping[str, tuple[float, float]],
    looks: Looks,
    metric: str,
    direction: str,
) -> None:
    """Results over the learning rate: dots for runs, crosses at the worst end for diverged ones, bars at the foot for
    typical ranges.
    """
    worst = frame.result.min() if direction == "max" else frame.result.max()
    subtitle = "a dot a run, a cross one that diverged" + ("; bars at the foot: typical range" if typical else "")
    with panel(file, metric, subtitle, "learning rate") as axes:
        axes.set_xscale("log")
        axes.margins(y=0.09)
        for i, (group, part) in enumerate(frame.groupby("group", sort=False)):
            look, there = looks[str(group)], part.dropna(subset=["result"])
            means = there.groupby("lr").result.mean()
            if 2 <= len(means) < max(len(there), 13):
                axes.plot(means.index, means, **line(look))
            axes.plot(there.lr, there.result, look.marker, color=look.colour, markersize=4.5, label=plain(group))
            lost = part[part.status == "diverged"]
            axes.plot(lost.lr, [worst] * len(lost), "x", color=look.colour)
            if str(group) in typical:
                at = [0.008 + 0.014 * i] * 2
                axes.plot(typical[str(group)], at, color=look.colour, linewidth=4, transform=axes.get_xaxis_transform())


def best_of_k(file: Path, frame: pd.DataFrame, looks: Looks, metric: str) -> None:
    """The expected best result after k trials of the search."""
    with panel(file, metric, "expected best of k trials of the search", "trials") as axes:
        axes.locator_params(axis="x", integer=True)
        for group, part in frame.groupby("group", sort=False):
            axes.plot(
                part.k, part.value, label=plain(group), marker=looks[str(group)].marker, **line(looks[str(group)])
            )


def differences(file: Path, frame: pd.DataFrame, looks: Looks, metric: str) -> None:
    """How far each group is behind the reference, its interval, and the margin within which it does not matter."""
    figure = new_figure(7.2, 1.5 + 0.36 * len(frame))
    axes = figure.subplots()
    ruled(axes)
    headed(
        axes, plain(f"Behind {frame.reference.iloc[0]} in {metric}"), "paired by seed; 95 % t interval; above 0: worse"
    )
    margin = frame.margin.iloc[0]
    if margin is not None and margin > 0:
        axes.axvspan(-margin, margin, color=PALE, zorder=0, label=f"margin {margin:g}")
        axes.legend(frameon=False, fontsize=8, labelcolor=GREY)
    axes.axvline(0, color=GREY, linewidth=1)
    for i, row in enumerate(frame.itertuples()):
        look = looks[str(row.group)]
        between = np.array([[row.mean - row.low], [row.high - row.mean]], dtype=float)
        axes.errorbar(row.mean, i, xerr=between, fmt=look.marker, color=look.colour, capsize=3)
    axes.set_yticks(
        range(len(frame)), [f"{plain(group)} (n={n})" for group, n in zip(frame.group, frame.n, strict=True)]
    )
    axes.set_ylim(len(frame) - 0.4, -0.6)
    axes.tick_params(axis="y", labelcolor=INK)
    figure.savefig(file)


@contextmanager
def panel(file: Path, title: str, subtitle: str, x: str) -> Iterator["Axes"]:
    """A figure with one panel, saved with its legend when the body has drawn."""
    figure = new_figure(7.2, 4.3)
    axes = figure.subplots()
    ruled(axes)
    headed(axes, plain(title), subtitle)
    axes.set_xlabel(x, fontsize=9, color=GREY)
    yield axes
    axes.tick_params(which="both", length=0)
    if axes.get_legend_handles_labels()[1]:
        figure.legend(loc="outside right upper", frameon=False, fontsize=8.5, labelcolor=INK)
    figure.savefig(file)


def line(look: Look) -> dict[str, Any]:
    """How a group's line is drawn."""
    return {"color": look.colour, "linestyle": look.linestyle, "linewidth": 1.7, "markersize": 4.5}


def plain(text: Any) -> str:
    """Text that matplotlib shows as it is: it reads formulas between dollars, and leaves out labels with a _ first."""
    return (
        str(text).replace("$", "\\$").replace("_", "\u200b_", 1)
        if str(text)[:1] == "_"
        else str(text).replace("$", "\\$")
    )
