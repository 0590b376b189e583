"""A study's W&B report in wandb-workspaces' blocks, which that package is needed for. Nothing here goes online."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import wandb_workspaces.reports.v2 as wr
from wandb_workspaces import expr

from steepest.studies.space import space_of
from steepest.studies.study import Row, Study

WIDTH, HEIGHT = 12, 8
"""Of a panel; W&B's grid is 24 wide."""

Panels = list[Any]


def report(study: Study, verdicts: Mapping[str, Mapping[str, Any]], entity: str, project: str) -> wr.Report:
    """The report: the verdicts, then for each row what its runs have shown.

    Args:
        study: at one scale.
        verdicts: by row, with the columns of verdicts.csv; a row may be absent.
        entity: W&B's user or team.
        project: W&B's project, in which the runs are, too.
    """
    blocks: list[Any] = [wr.H1(text=f"{study.name}: verdicts"), wr.P(text=study.question)]
    blocks.append(wr.MarkdownBlock(text=verdict_table(study, verdicts)))
    for row in study.rows:
        blocks += of_row(study, row)
    return wr.Report(
        entity=entity,
        project=project,
        title=f"{study.name}, scale {study.scale}"[:128],
        description=study.question,
        width="fluid",
        blocks=blocks,
    )


def verdict_table(study: Study, verdicts: Mapping[str, Mapping[str, Any]]) -> str:
    """The verdicts as Markdown; a row that has none stands there too."""
    head = ["row", "claim", "condition", "verdict", "recommended", "metric", "mean (95 % interval)", "runs"]
    head += ["best rival", "its mean", "runs that would settle it"]
    lines = [head, ["---"] * len(head)]
    for row in study.rows:
        told = verdicts.get(row.name, {})
        why = f": {told['reason']}" if pd.notna(told.get("reason")) else ""
        between = f" ({figure(told.get('low'))} to {figure(told.get('high'))})" if pd.notna(told.get("low")) else ""
        line = [row.name, row.claim, row.condition, f"**{told.get('verdict', 'not judged yet')}**{why}"]
        line += [row.recommended, row.metric, f"{figure(told.get('value'))}{between}", figure(told.get("n"))]
        rival = told.get("best_rival")
        line += [str(rival) if pd.notna(rival) else "-", figure(told.get("rival_value"))]
        lines.append([*line, figure(told.get("seeds_needed"))])
    return "\n".join("| " + " | ".join(map(cell, line)) + " |" for line in lines)


def cell(text: Any) -> str:
    """A text that stays within its cell of a table in Markdown."""
    return " ".join(str(text).replace("|", "\\|").split()) or "-"


def figure(value: Any) -> str:
    """A number to four digits, or a dash."""
    return f"{float(value):.4g}" if pd.notna(value) else "-"


def of_row(study: Study, row: Row) -> Iterator[Any]:
    """The blocks of a row: its claim, and a grid each of its evaluation and its search."""
    yield wr.H2(text=row.name)
    yield wr.P(text=f"{row.claim} Condition: {row.condition}. Recommended: {row.recommended}.")
    yield wr.H3(text="Evaluation: the best settings with fresh seeds")
    yield wr.PanelGrid(runsets=runsets(study, row, ["evaluate"]), panels=tiled(evaluation(row)))
    yield wr.H3(text="Search: every trial, with its setting")
    yield wr.PanelGrid(runsets=runsets(study, row, ["search", "reserve"]), panels=tiled(search(row)))


def runsets(study: Study, row: Row, phases: list[str]) -> list[Any]:
    """A run set of each contender: its W&B group, in these phases, at the study's scale."""
    return [
        wr.Runset(
            name=contender.name,
            filters=expr.And(
                expr.Metric("Group") == f"{study.name}/{row.name}/{contender.name}"[:128],
                expr.Metric("JobType").isin(phases),
                expr.Tags().isin([study.scale]),
            ),
        )
        for contender in row.contenders
    ]


def evaluation(row: Row) -> Panels:
    """Means over the seeds of each contender: curves over steps and examples, and the result."""
    group: dict[str, Any] = {"groupby": wr.Metric("Group"), "groupby_aggfunc": "mean"}
    bands = {**group, "groupby_rangefunc": "stddev"}
    measures = list(dict.fromkeys([row.select, "train/loss"]))
    curves = [
        wr.LinePlot(title=f"{name} over {axis}", x=axis, y=[name], **bands)
        for name in measures
        for axis in ("opt_step", "examples")
    ]
    result = wr.BarPlot(title=f"{row.metric}, mean over seeds", metrics=[row.metric], **group)
    cost = wr.ScatterPlot(
        title=f"{row.metric} over seconds of training", x=wr.SummaryMetric("wall_s"), y=wr.SummaryMetric(row.metric)
    )
    return [*curves, result, cost]


def search(row: Row) -> Panels:
    """What was searched, against the validation metric that picks settings."""
    spaces = [space_of(row, contender) for contender in row.contenders]
    choices = {one.key: one for space in spaces for one in space.choices}
    own = {f"optimizer.{one.key}": one for space in spaces for one in space.own.dimensions}
    # The hyperparameters of all contenders, since a panel shows all run sets; W&B leaves gaps where a run has none.
    columns = [
        wr.ParallelCoordinatesPlotColumn(
            metric=wr.Config(config_key(key)), display_name=key, log=True if one.scale == "log" else None
        )
        for key, one in {**choices, **own}.items()
    ]
    ends = [("diverged", "diverged"), (row.select, row.select)]
    columns += [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(key), display_name=name) for key, name in ends]
    scatters = [
        wr.ScatterPlot(
            title=f"{row.select} over {key}",
            x=wr.Config(config_key(key)),
            y=wr.SummaryMetric(row.select),
            log_x=True if one.scale == "log" else None,
        )
        for key, one in own.items()
        if key == "optimizer.lr"
    ]
    return [wr.ParallelCoordinatesPlot(title="What was searched", columns=columns), *scatters]


def config_key(key: str) -> str:
    """Where W&B's configuration has a hyperparameter: entries of lists stand apart, and a group by its choice."""
    if "[" in key:
        return f"entries.{key.removeprefix('optimizer.').replace('[', '_').removesuffix(']')}"
    return key if "." in key else f"choices.{key}"


def tiled(panels: Panels) -> Panels:
    """The panels in rows of two."""
    for number, panel in enumerate(panels):
        panel.layout = wr.Layout(x=WIDTH * (number % 2), y=HEIGHT * (number // 2), w=WIDTH, h=HEIGHT)
    return panels
