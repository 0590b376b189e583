"""What a sweep will cost, before it begins."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from steepest.errors import ConfigError
from steepest.launchers.processes import cores, gpus
from steepest.studies.price import Price, probe, seen
from steepest.studies.progress import minutes
from steepest.sweeps.identify import PlannedJob

Kind = tuple[str, str, str, int]
"""Task, dataset, model and devices: what the cost of a run hangs on most."""


@dataclass(frozen=True)
class Item:
    """A line of the bill: the runs of a kind."""

    kind: Kind
    todo: int
    price: Price | None
    """Of one; None: not known before some are done."""

    @property
    def device_s(self) -> float:
        """Seconds of all devices together."""
        return self.todo * self.price.seconds * self.kind[3] if self.price else 0.0


def bill(todo: Sequence[PlannedJob], done: Sequence[PlannedJob], probes: bool) -> list[Item]:
    """The cost of the jobs that are to be run, by kind.

    Args:
        todo: jobs to be run.
        done: jobs whose runs have ended.
        probes: train for two seconds where less than three runs of a kind are done; otherwise their price is not known.

    Raises:
        ConfigError: such a probe does not work.
    """
    ended = defaultdict(list)
    for job in done:
        ended[kind(job)].append(job.folder.summary)
    groups = defaultdict(list)
    for job in todo:
        groups[kind(job)].append(job)
    return [Item(of, len(jobs), _price(jobs[0], ended[of], probes)) for of, jobs in groups.items()]


def kind(job: PlannedJob) -> Kind:
    """The kind of a job's run."""
    choices, trainer = job.config["choices"], job.config["trainer"]
    return choices["task"], choices["dataset"], choices["model"], trainer["devices"] * trainer["num_nodes"]


def _price(job: PlannedJob, ended: Sequence[Mapping[str, Any]], probes: bool) -> Price | None:
    if len(ended) >= 3:
        return seen(ended)
    if not probes:
        return None
    try:
        return probe(job.overrides, "a probe")[0]
    except ConfigError as error:
        raise ConfigError(f"a run of this sweep does not work ({' '.join(job.overrides)}): {error}") from None


def show(items: Sequence[Item], at_once: int) -> None:
    """Print a bill, for so many runs at a time."""
    table = Table(title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("runs of", "to run", "steps a run", "time a run", "memory a run", "time", "device hours", "by"):
        table.add_column(name, justify="left" if name in ("runs of", "by") else "right", no_wrap=True)
    for item in items:
        task, dataset, model, devices = item.kind
        name = f"{task}, {dataset}, {model}" + (f", {devices} devices" if devices > 1 else "")
        if price := item.price:
            figures = (
                f"{price.steps:,}",
                minutes(price.seconds),
                f"{price.memory_mb:,.0f} MB",
                minutes(item.todo * price.seconds / at_once),
                f"{item.device_s / 3600:,.2f}",
                price.basis,
            )
        else:
            figures = ("?", "?", "?", "?", "?", "known when three are done")
        table.add_row(name, f"{item.todo:,}", *figures)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    known = [item.price for item in items if item.price]
    if known:
        seconds = sum(item.todo * item.price.seconds for item in items if item.price)
        memory = max(price.memory_mb for price in known) * at_once
        console.print(
            f"About {minutes(seconds / at_once)} with {at_once} at a time, up to {memory:,.0f} MB of memory, "
            f"{sum(item.device_s for item in items) / 3600:,.2f} device hours"
            f"{', beside what is not known' * (len(known) < len(items))}. Optimizers whose steps cost more than the "
            "probe's take longer.",
            soft_wrap=True,
        )


def jobs_at_a_time(launcher: Mapping[str, Any]) -> int:
    """How many runs a launcher of this configuration has at a time."""
    name = str(launcher.get("_target_", ""))
    if "isolated" in name or "joblib" in name:
        at_once = launcher.get("n_jobs") or len(gpus()) or cores()
        return at_once if at_once > 0 else cores()  # joblib's -1
    return launcher.get("array_parallelism") or 1
