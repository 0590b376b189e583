"""Tables in HTML: sortable and filterable by the page's script, readable without it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import pandas as pd

from steepest.report.palette import Look
from steepest.report.sections import Section
from steepest.report.tables import count, number, with_interval


@dataclass
class Links:
    """The runs behind numbers: each number names a list of run ids that stands in the page once."""

    lists: dict[str, list[str]] = field(default_factory=dict)
    _keys: dict[tuple[str, ...], str] = field(default_factory=dict)

    def key(self, run_ids: Iterable[str]) -> str:
        """The name of a list."""
        ids = tuple(map(str, run_ids))
        name = self._keys.setdefault(ids, f"l{len(self._keys)}")
        self.lists[name] = list(ids)
        return name

    def to(self, text: str, run_ids: Iterable[str], said: str) -> str:
        """A number that leads to its runs, if there are any."""
        ids = list(run_ids)
        if not ids:
            return escape(text)
        name = self.key(ids)
        return f'<a class="to-runs" href="#runs" data-runs="{name}" title="{escape(said)}">{escape(text)}</a>'


@dataclass(frozen=True)
class Cell:
    """A cell: what is shown, and what it is sorted by."""

    html: str
    by: Any = ""
    classes: str = ""


def table(key: str, caption: str, head: Sequence[tuple[str, bool]], rows: Iterable[Sequence[Cell]]) -> str:
    """A table that scrolls in itself where the page is narrow.

    Args:
        key: its id.
        caption: for those who cannot see where it stands.
        head: of each column its name, and whether it holds numbers.
        rows: a cell a column.
    """
    columns = "".join(
        f'<th scope="col"{" class=number" if of_numbers else ""} aria-sort="none">'
        f'<button type="button" class="sort">{escape(name)}</button></th>'
        for name, of_numbers in head
    )
    body = "".join(f"<tr>{''.join(cells(row, head))}</tr>\n" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table id="{escape(key)}">'
        f'<caption class="unseen">{escape(caption)}</caption><thead><tr>{columns}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def cells(row: Sequence[Cell], head: Sequence[tuple[str, bool]]) -> Iterable[str]:
    """The cells of a row; its first one is its name."""
    for i, (cell, (_, of_numbers)) in enumerate(zip(row, head, strict=True)):
        kind, scope = ("th", ' scope="row"') if i == 0 else ("td", "")
        names = f"{'number ' if of_numbers else ''}{cell.classes}".strip()
        attributes = f' class="{names}"' if names else ""
        attributes += f' data-by="{cell.by}"' if isinstance(cell.by, int | float) and cell.by == cell.by else ""
        yield f"<{kind}{scope}{attributes}>{cell.html}</{kind}>"


def text(value: Any) -> Cell:
    """A cell of text."""
    return Cell(escape("" if value is None or value != value else str(value)), "" if value is None else value)


def swatch(group: str, look: Look | None) -> str:
    """A group's name behind its colour."""
    mark = f'<i class="swatch" style="--colour:{look.colour}"></i>' if look else ""
    return f"{mark}{escape(group)}"


def groups_table(section: Section, frame: pd.DataFrame, links: Links, looks: Mapping[str, Look]) -> str:
    """The results of a section: a row a group, each number with the runs behind it."""
    arrow = "higher is better" if section.direction == "max" else "lower is better"
    head = [("group", False), (f"{section.metric} ({arrow})", True), ("n", True), ("diverged", True)]
    head += [("unfinished", True)] if frame.unfinished.any() else []
    head += [("steps", True), ("seconds", True), ("ms a step", True)]
    head += [("memory MB", True)] if frame.memory_mb.notna().any() else []
    rows = []
    for row in frame.to_dict("records"):
        part = section.runs[section.runs.group == row["group"]]
        counted, ids = part.run_id[part.counted.notna()], part.run_id
        said = with_interval(row["mean"], row["low"], row["high"])
        mixed = ' <b class="tag warn">mixed code</b>' if row["digests"] > 1 else ""
        line = [
            Cell(swatch(row["group"], looks.get(row["group"])) + mixed, row["group"]),
            Cell(links.to(said, counted, f"the {row['n']} runs of this mean"), row["mean"], "strong"),
            Cell(links.to(str(row["n"]), counted, "the runs with a value"), row["n"]),
            Cell(some(links, row["diverged"], part.run_id[part.status == "diverged"], "diverged"), row["diverged"]),
        ]
        if frame.unfinished.any():
            left = part.run_id[part.status.isin(["running", "failed", "preempted"])]
            line.append(Cell(some(links, row["unfinished"], left, "unfinished"), row["unfinished"]))
        line += [
            Cell(links.to(count(row["opt_steps"]), ids, "the runs of this median"), row["opt_steps"]),
            Cell(links.to(number(row["wall_s"]), ids, "the runs of this median"), row["wall_s"]),
            Cell(links.to(number(row["step_ms"]), ids, "the runs of this median"), row["step_ms"]),
        ]
        if frame.memory_mb.notna().any():
            line.append(Cell(links.to(count(row["memory_mb"]), ids, "the runs of this median"), row["memory_mb"]))
        rows.append(line)
    return table(f"table-{section.key}", f"Results of {section.title}", head, rows)


def some(links: Links, amount: int, run_ids: Iterable[str], what: str) -> str:
    """How many runs are something, with the way to them if there are any."""
    return links.to(str(amount), run_ids, f"the {amount} {what}") if amount else "0"


def reached_table(section: Section, frame: pd.DataFrame, links: Links, looks: Mapping[str, Look]) -> str:
    """Time to target in every unit; "never" where half of the runs or more did not get there."""
    units = {"opt_step": "steps", "examples": "examples", "grad_evals": "gradient evaluations", "wall_s": "seconds"}
    head = [("group", False), ("reached", True), *((f"median {name}", True) for name in units.values())]
    rows = [
        [
            Cell(swatch(row["group"], looks.get(row["group"])), row["group"]),
            Cell(links.to(f"{row['reached']} of {row['n']}", row["run_ids"], "these runs"), row["reached"] / row["n"]),
            *(Cell(links.to(never(row[axis]), row["run_ids"], "these runs"), row[axis]) for axis in units),
        ]
        for row in frame.to_dict("records")
    ]
    return table(f"target-{section.key}", f"Time to target of {section.title}", head, rows)


def never(value: float) -> str:
    """A time, or that there is none."""
    return "never" if value == float("inf") else number(value)


def runs_table(parts: Sequence[Section], looks: Mapping[str, Look]) -> str:
    """All runs, with the command of each and a button that copies it."""
    head = [("run", False), ("section", False), ("group", False), ("status", False), ("seed", True), ("phase", False)]
    head += [("result", True), ("steps", True), ("seconds", True), ("memory MB", True), ("command", False)]
    places: dict[str, list[tuple[dict[str, Any], Section]]] = {}
    for part in parts:
        ids = set(part.runs.run_id)
        for run in pd.concat([part.runs, part.search[~part.search.run_id.isin(ids)]]).to_dict("records"):
            places.setdefault(run["run_id"], []).append((run, part))
    return table("all-runs", "All runs", head, [run_row(place, looks) for place in places.values()])


def run_row(places: Sequence[tuple[Mapping[str, Any], Section]], looks: Mapping[str, Look]) -> list[Cell]:
    """The row of a run; one run may belong to several rows of a study."""
    run, titles = places[0][0], dict.fromkeys(part.title for _, part in places)
    groups = dict.fromkeys(str(one["group"]) for one, _ in places)
    results = dict.fromkeys("-" if pd.isna(one["result"]) else f"{one['result']:,.6g}" for one, _ in places)
    name, command = escape(str(run["run_id"])), str(run["command"] or "")
    copy = '<button type="button" class="copy" aria-label="Copy the command">Copy</button>' if command else ""
    opener = f'<button type="button" class="run" data-run="{name}" title="{escape(str(run["name"]))}">{name}</button>'
    return [
        Cell(opener, run["run_id"]),
        Cell("".join(f"<div>{escape(title)}</div>" for title in titles)),
        Cell("".join(f"<div>{swatch(group, looks.get(group))}</div>" for group in groups)),
        Cell(f'<span class="status {escape(run["status"])}">{escape(run["status"])}</span>', run["status"]),
        text(run["seed"]),
        text(run["phase"]),
        Cell("".join(f"<div>{result}</div>" for result in results), run["result"]),
        Cell(escape(count(run["opt_steps"])), run["opt_steps"]),
        Cell(escape(number(run["wall_s"])), run["wall_s"]),
        Cell(escape(count(run["memory_mb"])), run["memory_mb"]),
        Cell(f'<span class="command">{copy}<code>{escape(command)}</code></span>', command),
    ]
