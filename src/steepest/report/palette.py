"""How groups look, the same in every figure of a report: colour, dash and marker differ together."""

from collections.abc import Iterable
from dataclasses import dataclass

from steepest.report.sections import Section

# Paul Tol's vibrant scheme and two of his muted one, https://personal.sron.nl/~pault: told apart by colour-blind
# readers, and of a lightness that stands out on white and on near-black.
COLOURS = ("#0077BB", "#EE7733", "#009988", "#EE3377", "#999933", "#AA4499", "#33A0DD", "#888888")
DASHES = (("solid", "-"), ("dash", "--"), ("dot", ":"), ("dashdot", "-."), ("longdash", (0, (8, 3))))
MARKERS = (("circle", "o"), ("square", "s"), ("diamond", "D"), ("triangle-up", "^"), ("cross", "P"), ("x", "X"))


@dataclass(frozen=True)
class Look:
    """The look of one group, by the names that Plotly and matplotlib have for it."""

    colour: str
    dash: str
    linestyle: str | tuple[int, tuple[int, ...]]
    symbol: str
    marker: str

    def pale(self, alpha: float) -> str:
        """The colour, see-through: `rgba(...)`."""
        red, green, blue = (int(self.colour[i : i + 2], 16) for i in (1, 3, 5))
        return f"rgba({red},{green},{blue},{alpha})"


def looks_of(parts: Iterable[Section]) -> dict[str, Look]:
    """A look for each group of some sections, the same in all of them."""
    return looks(group for part in parts for group in sorted({*part.runs.group, *part.search.group}))


def looks(groups: Iterable[str]) -> dict[str, Look]:
    """A look for each group; 8 colours times 5 dashes times 6 markers repeat after 120 groups."""
    found: dict[str, Look] = {}
    for i, group in enumerate(dict.fromkeys(groups)):
        dash, linestyle = DASHES[(i + i // len(COLOURS)) % len(DASHES)]
        symbol, marker = MARKERS[i % len(MARKERS)]
        found[group] = Look(COLOURS[i % len(COLOURS)], dash, linestyle, symbol, marker)
    return found
