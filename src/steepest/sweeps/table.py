"""What came out of a sweep, best first."""

import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from steepest.sweeps.identify import PlannedJob
from steepest.sweeps.ledger import State


def show_best(runs: Sequence[tuple[PlannedJob, State]], count: int) -> None:
    """Print the settings with the best mean over their seeds; those with a run that diverged come last.

    Args:
        runs: jobs and how their runs stand.
        count: how many settings to print.
    """
    done = [(job, state) for job, state in runs if state.done]
    summaries = {job.run_id: job.folder.summary["headline"] for job, state in done if state.word == "finished"}
    if not summaries:
        return
    settings: dict[tuple[str, ...], list[PlannedJob]] = defaultdict(list)
    for job, _ in done:
        settings[tuple(word for word in job.overrides if not word.startswith("seed="))].append(job)
    common = set.intersection(*map(set, settings)) if len(settings) > 1 else set()
    headline = next(iter(summaries.values()))
    sign = 1 if headline["direction"] == "min" else -1
    lines = []
    for words, jobs in settings.items():
        values = [summaries[job.run_id]["value"] for job in jobs if job.run_id in summaries]
        mean = statistics.fmean(values) if values else math.inf * sign
        lines.append((len(jobs) - len(values), sign * mean, words, jobs))
    lines.sort(key=lambda line: line[:2])
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in (headline["metric"], "runs", "diverged"):
        table.add_column(name, justify="right")
    table.add_column("setting", overflow="fold")
    table.add_column("first run folder" if any(len(line[3]) > 1 for line in lines) else "run folder", overflow="fold")
    for diverged, mean, words, jobs in lines[:count]:
        value = f"{sign * mean:.4g}" if diverged < len(jobs) else "-"
        setting = " ".join(word for word in words if word not in common) or "all the same"
        table.add_row(value, str(len(jobs)), str(diverged or ""), setting, str(jobs[0].folder.path))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(f"Best {min(count, len(lines))} of {len(lines):,} settings:" if len(lines) > 1 else "Result:")
    console.print(table)
