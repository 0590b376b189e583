"""How the pictures look."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE, BLUE, ORANGE = "#1f2937", "#6b7280", "#e5e7eb", "#2563eb", "#d97706"
MORE = (BLUE, ORANGE, "#059669", "#7c3aed", "#db2777", GREY)
"""One after the other for several curves in a panel."""
DPI = 110


def new_figure(width: float, height: float, layout: str | None = "constrained") -> "Figure":
    """An empty figure.

    Args:
        width: in inches.
        height: in inches.
        layout: how panels find their places; None: they are told.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)  # type: ignore[arg-type]
    FigureCanvasAgg(figure)
    return figure


def plain(panel: "Axes") -> None:
    """Take away all of a panel that says nothing."""
    panel.spines[:].set_visible(False)
    panel.tick_params(colors=GREY, labelsize=9, length=0, which="both")


def ruled(panel: "Axes") -> None:
    """Plain, with the lines of a grid behind the curves."""
    plain(panel)
    panel.grid(color=PALE, linewidth=0.7)
    panel.set_axisbelow(True)


def headed(panel: "Axes", title: str, subtitle: str = "") -> None:
    """Write a title above a panel, and a smaller line below the title."""
    panel.set_title(title, loc="left", pad=22 if subtitle else 8, fontsize=12, fontweight="bold", color=INK)
    if subtitle:
        panel.annotate(
            subtitle, (0, 1), (0, 7), "axes fraction", textcoords="offset points", va="bottom", fontsize=9, color=GREY
        )
