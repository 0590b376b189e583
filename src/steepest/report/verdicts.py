"""The verdicts on top of the page, and what they tell the sections below."""

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from steepest.report.html_tables import Cell, Links, table
from steepest.report.sections import Section
from steepest.report.tables import number, with_interval

SIGNS = {"confirmed": "✓", "refuted": "✗", "on par": "=", "inconclusive": "?"}
"""Beside the colour of a verdict, for those who do not see colours."""
FACTS = ("claim", "condition", "metric", "direction", "recommended", "target", "margin", "worst", "typical")


def facts_of(verdicts: pd.DataFrame | None) -> dict[str, dict[str, Any]]:
    """For each row of a study what its verdict says of it, absent and empty values left out."""
    if verdicts is None:
        return {}
    return {
        str(row["row"]): {name: row[name] for name in FACTS if name in row and is_there(row[name])}
        for row in verdicts.to_dict("records")
    }


def is_there(value: Any) -> bool:
    """Whether a cell holds something."""
    return value is not None and not (isinstance(value, float) and value != value) and value != ""


def verdicts_table(verdicts: pd.DataFrame, parts: Sequence[Section], links: Links) -> str:
    """A row a claim: the word, who was compared, the values and what is missing."""
    head = [("row", False), ("verdict", False), ("claim, condition and reason", False), ("recommended", False)]
    head += [("best rival", False), ("n", True), ("seeds needed", True)]
    by_row = {str(row): part for part in parts for row in set(part.runs.row.dropna())}
    lines = []
    for row in verdicts.to_dict("records"):
        part = by_row.get(str(row["row"]))
        name = escape(str(row["row"]))
        better = {"max": "↑", "min": "↓"}.get(str(row.get("direction")), "")
        metric = f"<br><small>{escape(str(row.get('metric') or ''))} {better}</small>"
        value = with_interval(*(real(row.get(key)) for key in ("value", "low", "high")))
        ours = contender(row.get("recommended"), value, part, links)
        theirs = contender(row.get("best_rival"), number(real(row.get("rival_value"))), part, links)
        said = [str(row[key]) for key in ("condition", "reason") if is_there(row.get(key))]
        why = "".join(f"<br><small>{escape(sentence)}</small>" for sentence in said)
        needed = row.get("seeds_needed")
        lines.append(
            [
                Cell((f'<a href="#{part.key}">{name}</a>' if part else name) + metric, row["row"]),
                badge(str(row["verdict"])),
                Cell(f"{escape(str(row.get('claim') or ''))}{why}", row.get("claim"), "wide"),
                Cell(ours, row.get("value")),
                Cell(theirs, row.get("rival_value")),
                Cell(escape(whole(row.get("n"))), row.get("n")),
                Cell(escape(whole(needed)), needed[0] if isinstance(needed, tuple) else needed),
            ]
        )
    return table("verdict-table", "Verdicts", head, lines)


def badge(verdict: str) -> Cell:
    """The word, in its colour and with its sign."""
    kind = verdict.replace(" ", "-") if verdict in SIGNS else "inconclusive"
    sign = SIGNS.get(verdict, "?")
    return Cell(f'<b class="verdict {kind}"><i aria-hidden="true">{sign}</i> {escape(verdict)}</b>', verdict)


def contender(name: Any, value: str, part: Section | None, links: Links) -> str:
    """A contender with its value, which leads to its runs where they are in the page."""
    if not is_there(name):
        return "-"
    runs = runs_of(part, name)
    number = links.to(value, runs, "the runs of this mean") if runs else escape(value)
    return f"{escape(str(name))}<br>{number}"


def runs_of(part: Section | None, name: Any) -> list[str]:
    """The runs of a contender in its row's section."""
    return [] if part is None else list(part.runs.run_id[part.runs.group == str(name)])


def real(value: Any) -> float:
    """A number; NaN for what is none."""
    return float(value) if isinstance(value, int | float) else float("nan")


def whole(value: Any) -> str:
    """A count, or a count and what it is for; a dash for none."""
    if isinstance(value, tuple):
        return f"{int(value[0]):,} ({value[1]})"
    return f"{int(value):,}" if is_there(value) and value != float("inf") else "-"
