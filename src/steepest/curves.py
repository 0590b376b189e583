"""Curves of a learning rate, as a picture and as text."""

import math
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from steepest.errors import ConfigError
from steepest.pictures.look import BLUE, GREY, INK, ORANGE, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOTS = 60  # up to so many steps, each is a dot


@dataclass(frozen=True)
class Curve:
    """One schedule over one run."""

    title: str
    settings: str
    total: int
    """Optimizer steps of the run."""
    epochs: float
    steps: list[int]
    lr: list[float]
    momentum: list[float] | None

    @property
    def run(self) -> str:
        """The run in words."""
        return f"{self.total:,} step{'s' * (self.total != 1)} in {self.epochs:g} epoch{'s' * (self.epochs != 1)}"

    @property
    def summary(self) -> str:
        """First, highest and last learning rate in words."""
        peak = max(self.lr)
        at = self.steps[self.lr.index(peak)]
        return f"first {self.lr[0]:.3g}, highest {peak:.3g} at step {at:,}, last {self.lr[-1]:.3g}"


def runs(curves: list[Curve]) -> str:
    """The length of the run, or of each where they differ."""
    return " or ".join(dict.fromkeys(c.run for c in curves))


def highest(curves: list[Curve]) -> float:
    """The highest learning rate of all, for a common scale; 1 if all are zero."""
    return max(max(c.lr) for c in curves) or 1.0


def save(curves: list[Curve], path: Path) -> None:
    """Draw the picture: one large panel, or a grid of small ones on a common scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(curves)
    columns = min(range(min(5, math.ceil(math.sqrt(count))), 6), key=lambda k: -count % k)  # the fewest empty places
    rows = math.ceil(count / columns)
    size = (3.0 * columns + 0.4, 2.1 * rows + 0.5) if count > 1 else (8.0, 4.6)
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel, c in zip(panels, curves, strict=False):
        draw(panel, c, 8) if count > 1 else draw(panel, c, 10, f"{fill(c.settings, 100)}\n{c.run}: {c.summary}".strip())
    panels[0].set_ylim(0, 1.06 * highest(curves))
    for panel in panels[count:]:
        panel.set_visible(False)
    figure.supxlabel("step", fontsize=10, color=GREY)
    figure.supylabel("learning rate", fontsize=10, color=BLUE)
    if count > 1:
        figure.suptitle(runs(curves), x=0.01, ha="left", fontsize=10, color=GREY)
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(f"output={path} cannot be written ({error.strerror}); allowed is a writable file.") from None


def draw(panel: "Axes", c: Curve, fontsize: int, subtitle: str = "") -> None:
    """Draw one curve; a momentum that moves gets an axis of its own at the right."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    dots: dict[str, Any] = {"marker": "o", "markersize": 3.5} if c.total <= DOTS else {}
    panel.plot(c.steps, c.lr, color=BLUE, linewidth=1.8, **dots)
    panel.fill_between(c.steps, c.lr, color=BLUE, alpha=0.1, linewidth=0)
    panel.text(0, 1.02, subtitle, transform=panel.transAxes, va="bottom", fontsize=0.85 * fontsize, color=GREY)
    pad = 8 + 1.15 * fontsize * len(subtitle.splitlines())
    title = fill(c.title, 70 if subtitle else 26)
    panel.set_title(title, loc="left", pad=pad, fontsize=1.3 * fontsize, fontweight="bold", color=INK)
    panel.set_xlim(-0.02 * c.total, 1.02 * c.total)
    panel.xaxis.set_major_locator(MaxNLocator(6 if subtitle else 4, steps=[1, 2, 2.5, 5, 10], integer=True))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.grid(color=PALE, linewidth=0.7)
    panel.spines[:].set_visible(False)
    panel.tick_params(colors=GREY, labelsize=fontsize, length=0)
    if c.momentum:
        right = panel.twinx()
        right.plot(c.steps, c.momentum, color=ORANGE, linewidth=1.3, linestyle="--", **dots)
        right.set_ylabel("momentum", color=ORANGE, fontsize=fontsize)
        right.spines[:].set_visible(False)
        right.tick_params(colors=ORANGE, labelsize=fontsize, length=0)
        right.set_yticks([min(c.momentum), (min(c.momentum) + max(c.momentum)) / 2, max(c.momentum)])
        right.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))


def in_terminal(curves: list[Curve], width: int, colour: bool) -> str:
    """The curves as text, at most `width` columns wide; several stand in panels side by side, on a common scale."""
    if len(curves) == 1:
        c = curves[0]
        texts = [text_plot(c, c.lr, f"{c.title}: learning rate", (width, 16), colour, 0.0, highest(curves))]
        if c.momentum:
            low, high = min(c.momentum), max(c.momentum)
            texts.append(text_plot(c, c.momentum, f"{c.title}: momentum", (width, 9), colour, low, high))
        return "\n".join([*texts, fill(c.settings, width), fill(c.summary, width)])
    least = max(26 if len(curves) > 4 else 40, *(len(c.title) + 2 for c in curves))
    columns = max(1, min(width // least, len(curves)))
    size = (width // columns, 8)
    panels = [text_plot(c, c.lr, c.title, size, colour, 0.0, highest(curves)).split("\n") for c in curves]
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    return "\n\n".join("\n".join(map("".join, zip(*row, strict=True))) for row in rows)


def text_plot(
    c: Curve, values: list[float], title: str, size: tuple[int, int], colour: bool, low: float, high: float
) -> str:
    """One panel of `size` (columns, lines), in braille dots."""
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if colour else "colorless")
    figure.plot_size(*size)
    figure.draw(figure.signal(c.steps, values, marker="braille").lines())
    figure.title(title[: size[0]])
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    middle, top = (low + high) / 2, high if high > low else low + 1.0
    figure.ruler("x").lim(0, max(1, c.total))
    figure.ruler("x").ticks([0, c.total // 2, c.total], ["0", f"{c.total // 2:,}", f"{c.total:,}"])
    figure.ruler("y", "left").lim(low, top)
    figure.ruler("y", "left").ticks([low, middle, high], [f"{value:.3g}" for value in (low, middle, high)])
    return str(figure.build().string(colorless=not colour)).rstrip("\n")
