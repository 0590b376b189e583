"""What a study will cost: from runs of it that are done, or from a short probe of each row."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from steepest.errors import ConfigError, listed
from steepest.studies.plan import Look, Planned, PlannedRun, once
from steepest.studies.price import Price, probe, seen
from steepest.studies.progress import minutes
from steepest.studies.study import Row


@dataclass(frozen=True)
class Item:
    """A row of the bill."""

    row: str
    contenders: int
    runs: int
    done: int
    price: Price

    @property
    def todo(self) -> int:
        """Runs that are to be run."""
        return self.runs - self.done


def bill(planned: Planned, look: Look, aside: Sequence[str]) -> list[Item]:
    """The cost of every row of a plan; runs that rows share are in the first one's.

    Args:
        planned: rows and their contenders.
        look: gives the result of a run that is done.
        aside: overrides for every run.

    Raises:
        ConfigError: a probe does not run, or measures none of what the row compares.
    """
    items = []
    runs_of = {row.name: [run for side in sides for run in side.runs] for row, sides in planned}
    for row, runs, later in once(planned):
        results = [result for run in runs if (result := look(run))]
        ended = [result for result in results if result.status == "finished" and result.elapsed_s]
        open_ones = [run for run in runs if look(run) is None]
        if not open_ones and not later:
            price = Price(0, 0.0, 0.0, "all done" if runs else "a row above")
        elif len(ended) >= 3:
            price = seen([vars(result) for result in ended])
        else:
            open_ones = open_ones or [run for run in runs_of[row.name] if look(run) is None]  # in a row above
            of_the_claim = [run for run in open_ones if run.contender == row.recommended]
            price = of_row(row, (of_the_claim or open_ones)[0], aside)
        items.append(Item(row.name, len(row.contenders), len(runs) + later, len(results), price))
    return items


def of_row(row: Row, run: PlannedRun, aside: Sequence[str]) -> Price:
    """The price by a probe of one of a row's runs.

    Raises:
        ConfigError: it does not run, or measures none of what the row compares.
    """
    words = [word for word in [*run.overrides, f"test={row.model}", *aside] if not word.startswith("test=none")]
    try:
        price, summary = probe(words, f"a probe of {run.contender}")
    except ConfigError as error:
        raise ConfigError(f"rows.{row.name}: a run of {run.contender} does not work: {error}") from None
    check(row, summary)
    return price


def check(row: Row, summary: Mapping[str, Any]) -> None:
    """Hold what a row compares against what its runs measure.

    Raises:
        ConfigError: they do not measure it.
    """
    if summary["status"] != "finished":
        return
    for key, name in (("metric", row.metric), ("select", row.select)):
        if name not in summary["metrics"]:
            known = sorted(one for one in summary["metrics"] if one.startswith(("test/", "val/", "train/")))
            raise ConfigError(f"rows.{row.name}.{key}={name} is not measured; allowed are {listed(known)}.")


def show(items: Sequence[Item], jobs: int, title: str) -> None:
    """Print a bill."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("row", "contenders", "runs", "done", "steps a run", "time a run", "memory a run", "time", "by"):
        table.add_column(name, justify="left" if name in ("row", "by") else "right", no_wrap=True)
    for item in items:
        price = item.price
        table.add_row(
            item.row,
            str(item.contenders),
            f"{item.runs:,}",
            f"{item.done:,}",
            f"{price.steps:,}",
            minutes(price.seconds),
            f"{price.memory_mb:,.0f} MB",
            minutes(item.todo * price.seconds / jobs),
            price.basis,
        )
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    todo = sum(item.todo for item in items)
    memory = max([item.price.memory_mb for item in items], default=0.0) * jobs
    steps = sum(item.todo * item.price.steps for item in items)
    console.print(
        f"To do: {todo:,} runs of {steps:,} steps in all, about {minutes(expected_s(items) / jobs)} with {jobs} at a "
        f"time, up to {memory:,.0f} MB of memory. Contenders whose steps cost more than the probe's take longer.",
        soft_wrap=True,
    )


def expected_s(items: Sequence[Item]) -> float:
    """Seconds of all that is to be run, one after the other."""
    return sum(item.todo * item.price.seconds for item in items)
