"""`steepest compare`: runs side by side in the terminal, as Markdown, CSV and PNG, and as one HTML page."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steepest.errors import ConfigError, listed
from steepest.report import pictures, wandb_runs
from steepest.report.bands import bands, ends
from steepest.report.frames import search_curves, sensitivity, typical
from steepest.report.page import write_page
from steepest.report.palette import looks_of
from steepest.report.runs import Runs, load
from steepest.report.sections import Section, on_validation, sections
from steepest.report.tables import aggregate, differences, in_words, runs_table, to_markdown


def main(arguments: list[str]) -> None:
    """Compare runs.

    Raises:
        ConfigError: no such run, group, key or metric, or a folder that cannot be written.
    """
    options = parse(arguments)
    data = read(options)
    parts = with_target(sections(data, options.by, options.metric), options.target)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    for part in parts:
        show(part, console)
    for note in data.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    out = Path(options.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = [*write_tables(parts, out), *write_pictures(parts, out)]
    except OSError as error:
        raise ConfigError(f"--out={out} cannot be written ({error.strerror}); allowed is a writable folder.") from None
    write_page(out / "report.html", options.title, data, parts=parts)
    drawn = sum(file.suffix == ".png" for file in files)
    console.print(
        Text(f"{out}: report.html, table.md, table.csv, runs.csv and {drawn} figure{'s' * (drawn != 1)}"),
        soft_wrap=True,
    )


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="steepest compare",
        description="Compares runs: a table in the terminal, and table.md, table.csv, runs.csv, PNG figures and one "
        "report.html. Rows of studies, tasks, data sets and metrics stand apart and are never averaged together.",
    )
    parser.add_argument(
        "runs", metavar="RUNS", nargs="*", help="run folders, folders of them, or ids below --runs-dir; default: all"
    )
    parser.add_argument("--by", help="config group or key to compare, such as optimizer or optimizer.lr")
    parser.add_argument("--metric", help="metric to compare, such as test/accuracy; default: each run's headline")
    parser.add_argument("--target", type=float, help="value of the metric for time to target")
    parser.add_argument("--out", default="comparison", help="folder that is written")
    parser.add_argument("--title", default="Comparison of runs", help="title of the page")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="read the runs of a W&B project, and no folders")
    parser.add_argument("--runs-dir", default="runs", help="where runs are looked for")
    return parser.parse_args(arguments)


def read(options: argparse.Namespace) -> Runs:
    """The runs that are meant: folders, or what W&B has of a project.

    Raises:
        ConfigError: there are none, or both are given.
    """
    if options.wandb:
        if options.runs:
            raise ConfigError(f"--wandb={options.wandb} stands beside {options.runs[0]}; allowed is one of both.")
        return wandb_runs.load(options.wandb)
    return load(options.runs or [options.runs_dir], options.runs_dir)


def with_target(parts: Sequence[Section], target: float | None) -> list[Section]:
    """The sections, told the target.

    Raises:
        ConfigError: they compare several metrics.
    """
    metrics = list(dict.fromkeys(part.metric for part in parts))
    if target is not None and len(metrics) > 1:
        raise ConfigError(
            f"--target={target:g} fits one metric only; allowed is --metric with {listed(metrics, 'or')}."
        )
    return [part if target is None else replace(part, facts={**part.facts, "target": target}) for part in parts]


def show(part: Section, console: Console) -> None:
    """Print the table of a section."""
    words = in_words(aggregate(part), part)
    better = "higher" if part.direction == "max" else "lower"
    table = Table(
        title=Text(f"{part.title}: {part.metric}, {better} is better"),
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    for i, name in enumerate(words.columns):
        table.add_column(Text(name), justify="right" if i else "left", no_wrap=bool(i))
    for row in words.itertuples(index=False):
        table.add_row(*map(Text, row))
    console.print(table)
    for note in part.notes:
        console.print(Text(f"note: {note}"), soft_wrap=True)
    console.print()


def write_tables(parts: Sequence[Section], out: Path) -> Iterator[Path]:
    """Write `table.md`, `table.csv` with all digits, and `runs.csv` with a row a run."""
    texts, frames = [], []
    for part in parts:
        frame = aggregate(part)
        better = "higher" if part.direction == "max" else "lower"
        notes = "".join(f"\n> {note}\n" for note in part.notes)
        texts.append(
            f"## {part.title}: {part.metric} ({better} is better)\n\n{to_markdown(in_words(frame, part))}{notes}"
        )
        frame = frame.assign(run_ids=frame.run_ids.map(" ".join))
        frames.append(frame.assign(section=part.title, metric=part.metric, direction=part.direction))
    yield out / "table.md"
    (out / "table.md").write_text("\n".join(texts), encoding="utf-8")
    table = pd.concat(frames, ignore_index=True)
    named = ["section", "metric", "direction"]
    for file, content in (("table.csv", table[[*named, *table.columns.drop(named)]]), ("runs.csv", runs_table(parts))):
        yield out / file
        content.to_csv(out / file, index=False)


def write_pictures(parts: Sequence[Section], out: Path) -> Iterator[Path]:
    """Write the PNG figures that there are runs for."""
    looks = looks_of(parts)
    for part in parts:

        def file(name: str, key: str = part.key) -> Path:
            return out / f"{key}-{name}.png"

        band = bands(part, part.curve, "opt_step")
        if len(band):
            yield file("curves")
            lost = ends(part, part.curve, "opt_step")
            pictures.curves(file("curves"), band, lost, looks, "opt_step", part.curve)
        metric = on_validation(part.metric) if len(part.search) else part.metric
        if len(tried := sensitivity(part)):
            yield file("lr")
            pictures.sensitivity(file("lr"), tried, typical(part), looks, metric, part.direction)
        if len(best := search_curves(part)):
            yield file("best-of-k")
            pictures.best_of_k(file("best-of-k"), best, looks, metric)
        if len(gaps := differences(part, part.facts.get("margin"))):
            yield file("differences")
            pictures.differences(file("differences"), gaps, looks, part.metric)
