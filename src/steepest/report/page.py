"""One self-contained HTML page: verdicts, figures and tables, and a way from every number to its runs."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
from plotly.offline import get_plotlyjs

from steepest.errors import ConfigError
from steepest.report.blocks import figures_of, over_rows, reached_of
from steepest.report.html_tables import Links, groups_table, runs_table
from steepest.report.palette import looks_of
from steepest.report.runs import Runs
from steepest.report.sections import Section, differing, sections
from steepest.report.tables import aggregate
from steepest.report.verdicts import facts_of, verdicts_table


def write_page(
    file: Path,
    title: str,
    runs: Runs,
    verdicts: pd.DataFrame | None = None,
    notes: Mapping[str, str] | None = None,
    parts: Sequence[Section] | None = None,
) -> None:
    """Write the page.

    Args:
        file: a new `.html` file, 5 MB, since the library that draws stands in it: it works from disk with no network.
        title: of the page.
        runs: all that is to be shown.
        verdicts: a row a claim: row, claim, condition, verdict, reason, recommended, best_rival, metric, direction,
            value, low, high, n, rival_value, seeds_needed; maybe margin, target, typical ({contender: [low, high]}).
        notes: more to say, by heading; of a study's row its name is the heading.
        parts: the sections, where they are not to be those of `sections(runs)`.

    Raises:
        ConfigError: the file cannot be written, or no run has a result.
    """
    said = facts_of(verdicts)
    parts = parts if parts is not None else sections(runs, facts=said)
    look = looks_of(parts)
    links, drawn, body = Links(), {}, []
    contents = [] if verdicts is None else [("verdicts", "Verdicts")]
    notes, rows = notes or {}, {row for part in parts for row in part.rows}
    body.append(remarks([], {name: said for name, said in notes.items() if name not in rows}, "plain"))
    if verdicts is not None:
        body.append(f'<section id="verdicts"><h2>Verdicts</h2>{verdicts_table(verdicts, parts, links)}</section>')
    body.append(remarks(runs.notes, {}))
    for part in parts:
        contents.append((part.key, part.title))
        plots, html = figures_of(part, look, links)
        drawn.update(plots)
        body.append(
            section_html(
                part,
                {name: notes[name] for name in part.rows if name in notes},
                groups_table(part, aggregate(part), links, look),
                html,
            )
        )
        body.append(reached_of(part, links, look))
        body.append("</section>")
    plots, html = over_rows(parts, look)
    drawn.update(plots)
    if html:
        contents.append(("profile", "Over all rows"))
        body.append(html)
    facts = {"figures": drawn, "lists": links.lists, "runs": about(parts)}
    page = Template(asset("page.html")).substitute(
        title=escape(title),
        style=asset("page.css"),
        lead=escape(lead(runs, parts)),
        contents="".join(f'<a href="#{key}">{escape(name)}</a>' for key, name in [*contents, ("runs", "All runs")]),
        body="\n".join(body),
        runs=runs_table(parts, look),
        colophon="Click a number to see its runs, a run to see its command and settings.",
        facts=in_script(facts),
        plotly=get_plotlyjs(),
        script=asset("page.js"),
    )
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{file} cannot be written ({error.strerror}); allowed is a file in a folder.") from None


def section_html(part: Section, notes: Mapping[str, str], results: str, figures: str) -> str:
    """The beginning of a section: title, what to know, results, figures; its end stands open."""
    claim = part.facts.get("claim")
    condition = (
        f" <span class=quiet>{escape(str(part.facts['condition']))}</span>" if part.facts.get("condition") else ""
    )
    said = f'<p class="claim">{escape(str(claim))}{condition}</p>' if claim else ""
    better = "higher is better" if part.direction == "max" else "lower is better"
    worst = part.facts.get("worst")
    lost = "diverged runs stand beside it" if worst is None else f"a diverged run counts as {worst:g}"
    return (
        f'<section id="{part.key}" aria-labelledby="{part.key}-title">'
        f'<h2 id="{part.key}-title">{escape(part.title)} <small>{escape(part.metric)}, {better}</small></h2>'
        f"{said}{remarks(part.notes, {})}{remarks([*notes.values()], {}, 'plain')}{results}"
        f'<p class="under">Mean over runs with the 95 % t interval; {lost}. Steps, seconds and memory are medians.</p>'
        f'<div class="figures">{figures}</div>'
    )


def remarks(sentences: Sequence[str], headed: Mapping[str, str], classes: str = "") -> str:
    """What a reader must know; empty if there is nothing."""
    items = [escape(text) for text in sentences]
    items += [f"<b>{escape(name)}.</b> {escape(text)}" for name, text in headed.items()]
    if not items:
        return ""
    shown, more = "".join(f"<li>{item}</li>" for item in items[:5]), items[5:]
    rest = f"<details><summary>{len(more)} more</summary><ul>{''.join(f'<li>{i}</li>' for i in more)}</ul></details>"
    return f'<aside class="remarks {classes}" aria-label="Notes"><ul>{shown}</ul>{rest if more else ""}</aside>'


def lead(runs: Runs, parts: Sequence[Section]) -> str:
    """How much there is."""
    states = runs.runs.status.value_counts()
    counted = ", ".join(f"{amount:,} {state}" for state, amount in states.items())
    counted = f"all {states.index[0]}" if len(states) == 1 else counted
    amount, sections_in_all = len(runs.runs), len(parts)
    return (
        f"{amount:,} run{'s' * (amount != 1)}, {counted}, in {sections_in_all} section{'s' * (sections_in_all != 1)}."
    )


def about(parts: Sequence[Section]) -> dict[str, dict[str, Any]]:
    """What the table of runs does not hold: folder, host, digest, and the settings in which a section's runs differ."""
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        frame = pd.concat([part.runs, part.search])
        keys = differing(frame)[:40]
        for run in frame.to_dict("records"):
            settings = {key: run["config"][key] for key in keys if run["config"].get(key) is not None}
            own = {name: run[name] for name in ("name", "path", "host", "started", "digest", "reason", "trial")}
            own["parameters"] = None if run["parameters"] != run["parameters"] else int(run["parameters"])
            own = {name: value for name, value in own.items() if value is not None and value == value}
            found[str(run["run_id"])] = {"facts": own, "settings": settings}
    return found


def asset(name: str) -> str:
    """The text of a file beside this one."""
    return (files("steepest.report") / name).read_text(encoding="utf-8")


def in_script(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, default=str, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
