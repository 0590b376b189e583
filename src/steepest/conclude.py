"""What a study leaves: results.csv, verdicts.csv, a README with the verdicts, figures, and one page."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steepest.compare import write_pictures
from steepest.errors import ConfigError
from steepest.report.page import write_page
from steepest.report.runs import Runs, load
from steepest.report.sections import sections
from steepest.report.tables import number, to_markdown, with_interval
from steepest.report.verdicts import facts_of
from steepest.runs.files import write_atomically
from steepest.studies.judge import judge, results_of, table_of
from steepest.studies.ledger import COLUMNS, Ledger, read_csv
from steepest.studies.plan import Planned
from steepest.studies.study import Row, Study, load_study

BEGIN, END = "<!-- measured -->", "<!-- /measured -->"
"""Around what is written anew each time; the rest of a README stays."""

LOOKS = {"confirmed": "green", "refuted": "red", "on par": "cyan", "inconclusive": "yellow"}


def conclude(
    study: Study,
    planned: Planned,
    ledger: Ledger,
    out: Path,
    runs_dir: Path,
    home: Path | None,
) -> None:
    """Judge every row, print the table, and write it all.

    Args:
        study: what was run.
        planned: its rows, with all their runs.
        ledger: knows their results.
        out: the folder that is written.
        runs_dir: where the run folders lie.
        home: the study's own folder, which gets results, README and figures as well; None: it does not.
    """
    results = results_of(planned, ledger)
    verdicts = pd.DataFrame(
        [judge(row, sides, results[results.row == row.name], ledger, study.scale) for row, sides in planned]
    )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    show(study, verdicts, console)
    for run_id, why in ledger.lost.items():
        console.print(Text(f"failed: {run_id}: {why}"), soft_wrap=True)
    out.mkdir(parents=True, exist_ok=True)
    results.to_csv(out / "results.csv", index=False)
    verdicts.to_csv(out / "verdicts.csv", index=False)
    runs = labelled(planned, ledger, runs_dir)
    rows: dict[tuple[str, str], Row] = {(study.scale, row.name): row for row in study.rows}
    write(out / "README.md", readme(study, verdicts, results, rows))
    if runs is not None:
        write_page(
            out / "report.html", f"{study.name}, scale={study.scale}", runs, verdicts, {study.name: study.question}
        )
        parts = sections(runs, facts=facts_of(verdicts))
        for place in [out] if home is None else [out, home]:
            for row in set(runs.runs.row):  # of another time, when other rows may have been drawn beside these
                for file in figures_of(place, study.name, study.scale, str(row)):
                    file.unlink()
            list(write_pictures(parts, folder(place / "figures")))
    if home is not None:
        publish(study, verdicts, results, home)
        console.print(Text(f"{home}: results.csv, verdicts.csv, README.md and figures"), soft_wrap=True)
    page = ", report.html" if runs is not None else ""
    console.print(Text(f"{out}: verdicts.csv, results.csv, README.md{page}"), soft_wrap=True)


def folder(path: Path) -> Path:
    """The folder, made if need be."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def labelled(planned: Planned, ledger: Ledger, runs_dir: Path) -> Runs | None:
    """The run folders of a study, once for each row that they belong to; None where there are none."""
    places: dict[str, list[dict[str, Any]]] = {}
    for _, sides in planned:
        for side in sides:
            for run in side.runs:
                if ledger.look(run) and (runs_dir / run.run_id / "config.yaml").is_file():
                    place = {"study": run.study, "scale": run.scale, "row": run.row, "contender": run.contender}
                    places.setdefault(run.run_id, []).append({**place, "phase": run.phase, "trial": run.trial})
    if not places:
        return None
    found = load([runs_dir / run_id for run_id in places])
    records = [
        {**record, **place} for record in found.runs.to_dict("records") for place in places.get(record["run_id"], [])
    ]
    return Runs(pd.DataFrame(records, columns=found.runs.columns), found.metrics, found.notes)


def show(study: Study, verdicts: pd.DataFrame, console: Console) -> None:
    """Print the verdicts."""
    table = Table(title=f"{study.name}, scale={study.scale}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("row", "verdict", "recommended", "value", "best rival", "value", "n"):
        table.add_column(name, no_wrap=name != "row", overflow="fold")
    for one in verdicts.to_dict("records"):
        value = figure_of(one)
        word = Text(str(one["verdict"]), style=LOOKS.get(str(one["verdict"]), ""))
        rival, n = word_of(one["best_rival"]), word_of(one["n"])
        table.add_row(str(one["row"]), word, str(one["recommended"]), value, rival, word_of(one["rival_value"]), n)
    console.print(table)
    for one in verdicts.to_dict("records"):
        console.print(Text(f"{one['row']}: {one['reason']}"), soft_wrap=True)


def figure_of(verdict: dict[str, Any]) -> str:
    """The recommended contender's mean and interval."""
    if verdict["value"] is None or pd.isna(verdict["value"]):
        return number(None)
    return with_interval(verdict["value"], verdict["low"], verdict["high"])


def word_of(value: Any) -> str:
    """A name or a number for people; a dash for none."""
    return value if isinstance(value, str) else number(None if value is None or pd.isna(value) else float(value))


def figures_of(place: Path, study: str, scale: str, row: str) -> list[Path]:
    """The figures of a row at a scale."""
    prefix = re.sub("[^a-z0-9]+", "-", f"{study} {row} {scale}".lower()).strip("-")
    return sorted((place / "figures").glob(f"{prefix}-*.png"))


def publish(study: Study, verdicts: pd.DataFrame, results: pd.DataFrame, home: Path) -> None:
    """Put results into the study's own folder; what stands there of other rows and other scales stays."""
    keys = ["scale", "row"]
    results = merged(home / "results.csv", results[results.status != "failed"], keys)[[*COLUMNS]]
    verdicts = merged(home / "verdicts.csv", verdicts, keys)
    results.to_csv(home / "results.csv", index=False)
    verdicts.to_csv(home / "verdicts.csv", index=False)
    # The lines are of several scales, at which a row may compare another metric; of rows that are no more, words stay.
    whole = [load_study(str(home / "study.yaml"), scale) for scale in set(verdicts.scale)]
    rows: dict[tuple[str, str], Row] = {(one.scale, row.name): row for one in whole for row in one.rows}
    write(home / "README.md", readme(study, verdicts, results, rows, home))


def merged(file: Path, new: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The lines of a file with those of the same keys replaced by new ones."""
    if not file.is_file():
        return new
    old = read_csv(file)
    fresh = set(new[keys].itertuples(index=False, name=None))
    kept = [pair not in fresh for pair in old[keys].itertuples(index=False, name=None)]
    stays = old[kept]
    return pd.concat([stays, new], ignore_index=True) if len(stays) else new


def readme(
    study: Study,
    verdicts: pd.DataFrame,
    results: pd.DataFrame,
    rows: Mapping[tuple[str, str], Row],
    place: Path | None = None,
) -> str:
    """The measured part of a README: for each scale the command, the verdicts, and each row's contenders.

    Args:
        study: whose they are.
        verdicts: as `judge` gives them, of one or several scales.
        results: of their runs.
        rows: what was compared, by scale and name.
        place: the folder that has their figures; None: it shows none.
    """
    lines = [f"**Question.** {study.question} The claims are from {study.source}.", ""]
    for scale, of_scale in verdicts.groupby("scale", sort=False):
        command = f"python scripts/reproduce.py study={study.name} scale={scale}"
        lines += [f"## scale={scale}", "", "```", command, "```", "", to_markdown(verdict_words(of_scale)), ""]
        for one in of_scale.to_dict("records"):
            row = rows.get((str(scale), str(one["row"])))
            lines += [f"### {one['row']}: {one['verdict']}", "", f"{one['claim']} Condition: {one['condition']}.", ""]
            lines += [str(one["reason"]), ""]
            mine = results[(results.row == one["row"]) & (results.scale == scale)]
            if row is not None:
                lines += [to_markdown(contender_words(row, mine)), ""]
            figures = figures_of(place, study.name, str(scale), str(one["row"])) if place else []
            lines += [f"![{file.name}](figures/{file.name})" for file in figures]
            lines += [""] if figures else []
    return "\n".join(lines).rstrip() + "\n"


def verdict_words(verdicts: pd.DataFrame) -> pd.DataFrame:
    """The verdicts as a table of words."""
    return pd.DataFrame(
        {
            "row": verdicts.row,
            "verdict": verdicts.verdict,
            "recommended": verdicts.recommended,
            "metric": verdicts.metric,
            "value [95 % interval]": [figure_of(one) for one in verdicts.to_dict("records")],
            "best rival": verdicts.best_rival.map(word_of),
            "its value": verdicts.rival_value.map(word_of),
            "n": verdicts.n.map(word_of),
        }
    )


def contender_words(row: Row, results: pd.DataFrame) -> pd.DataFrame:
    """A row's contenders as a table of words: what was found, what came of it, what it cost."""
    evaluated = results[(results.phase == "evaluate") & (results.search == 0)]
    table = table_of(row, evaluated)
    lines = []
    for name, one in table.iterrows():
        mine = evaluated[evaluated.contender == name]
        trials = results[(results.contender == name) & (results.phase != "evaluate") & (results.search == 0)]
        lines.append(
            {
                "contender": name,
                "setting found": mine.setting.iloc[0].strip("{}").replace('"', "").replace("optimizer.", ""),
                f"{row.metric} [95 % interval]": with_interval(one["mean"], one["low"], one["high"]),
                "n": str(int(one["n"])),
                "diverged": str(int(one["diverged"])),
                "trials": str(trials.trial.nunique()),
                "steps": number(mine.opt_steps.median()),
                "seconds": number(mine.wall_s.median()),
            }
        )
    return pd.DataFrame(lines)


def write(file: Path, measured: str) -> None:
    """Put the measured part into a README; what people wrote around it stays."""
    text = file.read_text() if file.is_file() else f"# {file.parent.name}\n"
    if BEGIN not in text:
        text = f"{text.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ConfigError(f"{file} has {BEGIN}, but no {END} after it; allowed are both.")
    write_atomically(file, lambda out: out.write(f"{before}{BEGIN}\n\n{measured}\n{END}{after}".encode()))
