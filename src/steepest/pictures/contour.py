"""The path of an optimizer over a function of two variables."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from steepest.pictures.look import BLUE, GREY, INK, ORANGE, headed, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 240
"""Of the grid, each way."""


def contour_path(
    function: Callable[[Any], Any], path: Any, minimizers: Any, title: str = "Path", steps: int | None = None
) -> "Figure":
    """The path from its start (ring) to its end (dot), minimizers (crosses), over lines of equal height.

    The lines are dense where the function is low: they are at equal steps of log(f - lowest).

    Args:
        function: from points, float64 [n, 2], to values, [n]; arrays of numpy.
        path: the points that the optimizer came through, [T, 2].
        minimizers: [M, 2]; none of them is fine.
        title: stands above.
        steps: that the optimizer took, where the path has only some of its points; None: one between every two.
    """
    import numpy as np

    path = np.asarray(path, dtype=float).reshape(-1, 2)
    known = np.asarray(minimizers, dtype=float).reshape(-1, 2)
    finite = path[np.isfinite(path).all(1)]
    figure = new_figure(6.4, 5.8)
    panel = figure.subplots()
    low, high = frame(finite, known)
    x, y = (np.linspace(low[k], high[k], POINTS) for k in (0, 1))
    grid = np.stack(np.meshgrid(x, y), -1)
    with np.errstate(all="ignore"):
        values = np.asarray(function(grid.reshape(-1, 2)), dtype=float).reshape(POINTS, POINTS)
    values = np.where(np.isfinite(values), values, np.nan)
    if np.isfinite(values).any():
        lowest = np.nanmin(values)
        with np.errstate(all="ignore"):
            known_values = np.asarray(function(known), dtype=float) if len(known) else np.array([])
        lowest = min([lowest, *known_values[np.isfinite(known_values)]])
        spread = float(np.nanmax(values) - lowest) or 1.0
        heights = np.log10((values - lowest) / spread + 1e-6)
        panel.contourf(x, y, heights, 24, cmap="Blues_r", alpha=0.85)
        panel.contour(x, y, heights, 24, colors="white", linewidths=0.4, alpha=0.6)
    panel.plot(*finite.T, color=ORANGE, linewidth=1.4, marker=".", markersize=4 if len(finite) <= 300 else 0)
    if len(finite):
        panel.plot(*finite[0], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=INK, linestyle="")
        panel.plot(*finite[-1], marker="o", markersize=7, color=INK, linestyle="")
    panel.plot(*known.T, marker="x", markersize=9, markeredgewidth=2.2, color=BLUE, linestyle="")
    panel.plot(*known.T, marker="x", markersize=8, markeredgewidth=1.0, color="white", linestyle="")
    panel.set_xlim(low[0], high[0])
    panel.set_ylim(low[1], high[1])
    plain(panel)
    end = "" if not len(path) else f", ends at ({path[-1, 0]:.4g}, {path[-1, 1]:.4g})"
    headed(panel, title, f"{max(len(path) - 1, 0) if steps is None else steps:,} steps{end}")
    panel.set_xlabel("x₁", color=GREY)
    panel.set_ylabel("x₂", color=GREY, rotation=0, labelpad=10)
    return figure


def frame(path: Any, known: Any) -> tuple[Any, Any]:
    """The lowest and highest coordinates to show: of the path and of the minimizers, and a margin.

    A path that ran away is shown up to ten times as far as its start lies from the minimizers.
    """
    import numpy as np

    points = np.concatenate([path, known]) if len(path) + len(known) else np.zeros((1, 2))
    if len(path) and len(known):
        reach = 10 * max(float(np.abs(path[0] - known).max()), 1e-12)
        centre = known.mean(0)
        points = points.clip(centre - reach, centre + reach)
    low, high = points.min(0), points.max(0)
    margin = 0.12 * np.maximum(high - low, 0.35 * max(float((high - low).max()), 1e-3))
    return low - margin, high + margin
