"""The figures of a section with the words around them."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from steepest.report import figures
from steepest.report.bands import DRAWN, bands, ends
from steepest.report.frames import profile, ratios, reached, search_curves, sensitivity, steps_up, typical
from steepest.report.html_tables import Links, reached_table
from steepest.report.palette import Look
from steepest.report.sections import Section, on_validation
from steepest.report.tables import aggregate, differences

Looks = Mapping[str, Look]
SWITCH = {"opt_step": "steps", "examples": "examples", "wall_s": "seconds"}


def figures_of(part: Section, looks: Looks, links: Links) -> tuple[dict[str, Any], str]:
    """The figures of a section for the script, by name, and the HTML that they are drawn into."""
    blocks: list[tuple[dict[str, go.Figure], str, str, str]] = []
    if kinds := over_the_run(part, looks):
        blocks.append(
            (
                kinds,
                "Training curves",
                "Mean over the finished runs; band: 95 % t interval, below 5 runs from the least to the greatest. "
                "A cross: a run diverged there." + best_only(part),
                "broad",
            )
        )
    gaps = differences(part, part.facts.get("margin"))
    if len(gaps):
        chosen = "" if part.facts.get("recommended") else " It was chosen by these values: no verdict."
        figure = figures.differences(gaps, looks, part.metric)
        blocks.append(
            (
                {"": figure},
                f"Behind {gaps.reference.iloc[0]}",
                "Paired by seed; right of 0: worse. 95 % t interval of the pairs; grey: the margin, where it is "
                f"known.{chosen}",
                "",
            )
        )
    blocks += costs(part, looks)
    tried = sensitivity(part)
    if len(tried):
        metric = on_validation(part.metric) if len(part.search) else part.metric
        figure = figures.sensitivity(tried, typical(part), looks, metric, part.direction)
        blocks.append(
            (
                {"": figure},
                "Learning rate",
                "A mark a run, a cross one that diverged. Shaded in a group's colour: "
                "the range that the specification calls typical.",
                "",
            )
        )
    best = search_curves(part)
    if len(best):
        figure = figures.best_of_k(best, looks, on_validation(part.metric))
        blocks.append(({"": figure}, "Best of k trials", "What a search of k trials is expected to find.", ""))
    if kinds := target_figures(part, looks):
        target = f"{part.curve} = {float(part.facts['target']):g}"
        blocks.append(
            (
                kinds,
                f"Time to {target}",
                "The share of a group's runs that got there. A line that ends below "
                "100 %, at the bar, has runs that never did: censored, not dropped.",
                "broad" if sum(not one[-1] for one in blocks) % 2 == 0 else "",
            )
        )
    drawn: dict[str, Any] = {}
    html = []
    for i, (kinds, title, caption, classes) in enumerate(blocks):
        html.append(block(f"{part.key}-{i}", list(kinds), title, caption, classes))
        drawn.update({f"{part.key}-{i}:{name}": as_json(figure, part, links) for name, figure in kinds.items()})
    return drawn, "\n".join(html)


def best_only(part: Section) -> str:
    """That not all groups are drawn, where they are not."""
    return f" Drawn: the {DRAWN} groups with the best means of {len(part.groups)}." if len(part.groups) > DRAWN else ""


def over_the_run(part: Section, looks: Looks) -> dict[str, go.Figure]:
    """The curves, by what they show and over what: `val/loss|steps`."""
    found = {}
    for metric in dict.fromkeys((part.curve, "train/loss")):
        for axis, name in SWITCH.items():
            band = bands(part, metric, axis)
            if len(band):
                found[f"{metric}|{name}"] = figures.curves(band, ends(part, metric, axis), looks, axis, metric)
    return found


def costs(part: Section, looks: Looks) -> list[tuple[dict[str, go.Figure], str, str, str]]:
    """Step time and memory."""
    table = aggregate(part).head(DRAWN)
    kinds = {
        name: figures.cost(table, looks, column, title)
        for name, column, title in (("step time", "step_ms", "ms a step"), ("memory", "memory_mb", "MB"))
        if table[column].notna().any()
    }
    caption = (
        "Medians over runs: seconds of the run by its optimizer steps, and the memory it took where that is known."
    )
    return [(kinds, "Cost", caption, "")] if kinds else []


def reached_of(part: Section, links: Links, looks: Looks) -> str:
    """Time to target as a table; empty without a target."""
    target = part.facts.get("target")
    if target is None:
        return ""
    table = reached_table(part, reached(part, float(target)), links, looks)
    return (
        f"<h3>Time to {escape(part.curve)} = {float(target):g}</h3>{table}"
        '<p class="under">Medians by Kaplan and Meier: runs that never got there are censored at their end, '
        "and those that diverged never do.</p>"
    )


def target_figures(part: Section, looks: Looks) -> dict[str, go.Figure]:
    """The share of runs at the target, by what it is over."""
    target = part.facts.get("target")
    if target is None:
        return {}
    frames = {name: (axis, steps_up(part, float(target), axis)) for axis, name in SWITCH.items()}
    return {name: figures.time_to_target(frame, looks, axis) for name, (axis, frame) in frames.items() if len(frame)}


def over_rows(parts: Sequence[Section], looks: Looks) -> tuple[dict[str, Any], str]:
    """The performance profiles over sections; nothing for one."""
    kinds = {}
    if len(frame := ratios(parts)):
        kinds["time to target"] = figures.profile(frame, looks, "steps to the target / those of the quickest")
    if len(frame := profile(parts)):
        kinds["result"] = figures.profile(frame, looks, "distance to the row's best (1: its worst)")
    if not kinds:
        return {}, ""
    caption = (
        "The share of rows in which a group is this close to the best of the row: in the steps that it needs to the "
        "target, or in its mean, on a scale from the row's best to its worst."
    )
    html = block("profile-0", list(kinds), "Performance profile", caption, "broad")
    drawn = {f"profile-0:{name}": json.loads(figure.to_json()) for name, figure in kinds.items()}
    return drawn, f'<section id="profile"><h2>Over all rows</h2><div class="figures">{html}</div></section>'


def block(key: str, kinds: Sequence[str], title: str, caption: str, classes: str) -> str:
    """A figure, the switches between its kinds, and its caption."""
    parts = [kind.split("|") for kind in kinds]
    switches = "".join(
        switch(
            f"{key}-s{i}",
            f"{title}: {('what', 'over')[i] if len(parts[0]) > 1 else 'which'}",
            list(dict.fromkeys(names)),
        )
        for i, names in enumerate(zip(*parts, strict=True))
    )
    return (
        f'<figure class="{classes}" data-figure="{key}"><div class="line"><h3>{escape(title)}</h3>'
        f'<div class="switches">{switches}</div></div>'
        f'<div class="plot" role="img" aria-label="{escape(f"{title}. {caption}")}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def switch(key: str, label: str, names: Sequence[str]) -> str:
    """A choice of one; its values are still needed where there is only one."""
    hidden = " hidden" if len(names) < 2 else ""
    choices = "".join(
        f'<label><input type="radio" name="{escape(key)}" value="{escape(name)}"{" checked" if i == 0 else ""}>'
        f"<span>{escape(name)}</span></label>"
        for i, name in enumerate(names)
    )
    return f'<fieldset class="switch"{hidden}><legend class="unseen">{escape(label)}</legend>{choices}</fieldset>'


def as_json(figure: go.Figure, part: Section, links: Links) -> dict[str, Any]:
    """A figure as the script draws it; `meta`, a group, becomes the list of its runs."""
    found: dict[str, Any] = json.loads(figure.to_json())
    for trace in found["data"]:
        if "meta" in trace:
            trace["meta"] = links.key(part.runs.run_id[part.runs.group == trace["meta"]])
    return found
