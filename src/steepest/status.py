"""`steepest status`: how sweeps stand, read from their folders alone."""

import argparse
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from steepest.errors import ConfigError, listed
from steepest.launchers import slurm, slurm_queue
from steepest.launchers.lines import distinct
from steepest.runs.folder import RunFolder
from steepest.sweeps.ledger import ENDED, JOBS, Entry, Ledger, State, state

ORDER = (*ENDED, "running", "queued", "preempted", "failed", "stale", "missing")
OF_SLURM = {"RUNNING": "running", "COMPLETING": "running", "PENDING": "queued", "SUSPENDED": "queued"}
"""What the states of jobs in a SLURM cluster's queue mean."""

LINES = 40
"""Jobs that are listed without --all."""


def main(arguments: list[str]) -> int:
    """Say how sweeps stand; returns the exit code (0: every run has its result, 1: some have none).

    Raises:
        ConfigError: there is no such sweep.
    """
    options = parse(arguments)
    folders = [sweep_folder(name) for name in options.sweeps] or sweeps_below(Path(options.runs_dir))
    complete = True
    for folder in folders:
        ledger = Ledger(folder)
        entries = ledger.entries()
        states = stand(ledger, entries)
        complete = complete and all(one.done for one in states)
        print(f"{folder}: {counts(states)}", flush=True)
        if options.sweeps:
            show(ledger, entries, states, options.all)
    return 0 if complete else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        prog="steepest status",
        description="Says how sweeps stand, from their folders and those of their runs: done, failed with the reason, "
        "preempted, running, queued, missing, stale. The exit code is 1 while a run lacks its result.",
    )
    parser.add_argument("sweeps", metavar="SWEEP", nargs="*", help="a sweep's folder; default: a line for each below")
    parser.add_argument("--runs-dir", default="runs", help="the folder of runs")
    parser.add_argument("--all", action="store_true", help="list all jobs, also those that are done")
    return parser.parse_args(arguments)


def sweep_folder(name: str) -> Path:
    """The folder of a sweep.

    Raises:
        ConfigError: it is none.
    """
    if not (Path(name) / JOBS).is_file():
        raise ConfigError(f"{name} is no sweep; allowed is a folder with a {JOBS}, such as runs/sweeps/<time>.")
    return Path(name)


def sweeps_below(runs_dir: Path) -> list[Path]:
    """The folders of all sweeps of a folder of runs, the oldest first.

    Raises:
        ConfigError: there are none.
    """
    files = [*runs_dir.glob(f"sweeps/*/{JOBS}"), *runs_dir.glob(f"studies/*/jobs/{JOBS}")]
    found = sorted(files, key=lambda file: file.stat().st_mtime)
    if not found:
        raise ConfigError(
            f"--runs-dir={runs_dir} has no sweeps; allowed is a folder of runs, or the folder of a sweep."
        )
    return [file.parent for file in found]


def stand(ledger: Ledger, entries: list[Entry]) -> list[State]:
    """How each run of a sweep stands."""
    runs_dirs = [Path(line["runs_dir"]) for line in ledger.commands()]
    failures, queue = ledger.failures(), queued(ledger.folder)
    found = []
    for entry in entries:
        one = state(RunFolder(runs_dirs[-1] / entry.run_id), entry.digest)
        if not one.done and one.word != "running" and (word := queue.get(entry.run_id)):
            one = State(word, one.reason)
        elif one.word == "missing" and entry.number in failures:
            one = State("failed", failures[entry.number], one.record)
        elif one.word == "preempted" and entry.number in failures:  # its launcher knows by whom
            one = State("preempted", failures[entry.number], one.record)
        found.append(one)
    return found


def queued(folder: Path) -> dict[str, str]:
    """How the jobs of a sweep stand that a SLURM cluster has in its queue, by their run's id."""
    jobs = slurm.noted(folder)
    try:
        queue = slurm_queue.queue() if jobs else {}
    except slurm_queue.NoAnswer:  # from here
        return {}
    return {
        job.run_id: OF_SLURM[queue[job.job_id].state]
        for job in jobs
        if job.job_id in queue and queue[job.job_id].state in OF_SLURM
    }


def counts(states: list[State]) -> str:
    """How many runs stand how."""
    found = Counter(one.word for one in states)
    return f"{len(states):,} runs: " + listed(f"{found[word]:,} {word}" for word in ORDER if found[word])


def show(ledger: Ledger, entries: list[Entry], states: list[State], everything: bool) -> None:
    """Print the jobs of a sweep: those without a result, or all."""
    names = distinct(0, [entry.overrides for entry in entries])
    lines = [
        (entry, one, name.partition(" (")[2].removesuffix(")"))
        for entry, one, name in zip(entries, states, names, strict=True)
        if everything or not one.done
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=bool(lines))
    for name in ("job", "run", "status", "setting", "reason"):
        table.add_column(name, overflow="fold", justify="right" if name == "job" else "left")
    for entry, one, setting in lines if everything else lines[:LINES]:
        table.add_row(str(entry.number), entry.run_id, one.word, setting, one.reason or "")
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    if not everything and len(lines) > LINES:
        print(f"and {len(lines) - LINES:,} more; --all lists all")
    if lines and not everything:
        print(f"The same command runs what is missing: {ledger.commands()[-1]['command']}")
