"""What a search says and leaves: the plan before it, then the best trials, `best.yaml` and `trials.csv`."""

import csv
import io
import math
import shlex
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from steepest.launchers.processes import JobFailed
from steepest.runs.files import write_atomically
from steepest.sweeps.tuning_space import Space
from steepest.sweeps.tuning_study import OVERRIDES, REASON, RUNS, VALUES, Trials, value_of

BEST = 5
"""Trials in the table at the end."""


def show_plan(space: Space, name: str, trials: Sequence[FrozenTrial], total: int, size: int) -> int:
    """Print what is tuned and how much of it is done; returns how many runs are to be run."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("optimizer", "key", "values"):
        table.add_column(column, overflow="fold")
    for axis in space.shared:
        table.add_row("all" if len(space.optimizers) > 1 else space.optimizers[0], axis.key, str(axis))
    for optimizer in space.optimizers:
        for axis in space.own[optimizer]:
            table.add_row(optimizer, axis.key, str(axis))
    console().print(table)
    states = Counter(trial.state for trial in trials)
    done = states[TrialState.COMPLETE] + states[TrialState.FAIL]
    failed = f", {states[TrialState.FAIL]:,} of them failed" if states[TrialState.FAIL] else ""
    todo = max(total, len(trials)) - done
    begun = f" ({states[TrialState.RUNNING]:,} of them begun before)" if states[TrialState.RUNNING] else ""
    each = f" of {len(space.seeds)} seeds" if len(space.seeds) > 1 else ""
    print(f"{name}: {done:,} trials are done{failed}, {todo:,} to be run{begun}{each}, {size:,} at a time.", flush=True)
    return todo * len(space.seeds)


def conclude(trials: Trials, metric: str, folder: Path, study: str, left: int) -> None:
    """Print the best trials and what became of all, and write it to a folder.

    Args:
        trials: of the study.
        metric: its name.
        folder: of the sweep.
        study: where the trials are.
        left: trials with runs that were asked to stop.

    Raises:
        JobFailed: no trial has a value.
    """
    every, ranked = trials.all, trials.ranked()
    write(folder / "trials.csv", as_csv(trials, every))
    good = [trial for trial in ranked if math.isfinite(value_of(trial))]
    if good:
        best = good[0]
        words = [word for word in best.user_attrs[OVERRIDES] if word != "test=none"]
        write(folder / "best.yaml", yaml.safe_dump(as_record(trials, best, words, metric, study), sort_keys=False))
        console().print(as_table(trials, good[:BEST], metric))
        for line in on_edges(trials, best):
            print(line)
        print(f"Best: {shlex.join(['python', 'train.py', *words])}")
    print(f"{ends(trials, every, left)}; in {folder} and as study {study}.", flush=True)
    failed = [trial for trial in every if trial.state is TrialState.FAIL]
    if failed and not ranked:
        raise JobFailed(f"all {len(failed)} trials failed, the first because of {failed[0].user_attrs.get(REASON)}")


def as_table(trials: Trials, best: Sequence[FrozenTrial], metric: str) -> Table:
    """The best trials, with what they differ in."""
    overrides = [trial.user_attrs[OVERRIDES] for trial in best]
    seeds = trials.space.seeds
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("trial", justify="right")
    table.add_column(f"mean {metric}" if len(seeds) > 1 else metric, justify="right")
    if len(seeds) > 1:
        table.add_column(f"seeds {', '.join(map(str, seeds))}")
    table.add_column("setting", overflow="fold")
    for trial, words in zip(best, overrides, strict=True):
        values = [", ".join(f"{value:.4g}" for value in trial.user_attrs[VALUES])] if len(seeds) > 1 else []
        setting = " ".join(word for word in words if word not in trials.space.fixed)
        table.add_row(str(trial.number), f"{value_of(trial):.4g}", *values, setting)
    return table


def ends(trials: Trials, every: Sequence[FrozenTrial], left: int) -> str:
    """How many trials came to which end."""
    words = Counter(word_of(trial) for trial in every)
    runs = sum(len(trial.user_attrs.get(RUNS, ())) for trial in every)
    said = ", ".join(f"{words[word]:,} {word}" for word in ("finished", "diverged", "failed") if words[word])
    cut = f", {left:,} cut off (the same command goes on with them)" if left else ""
    return f"{len(every):,} trials of {runs:,} runs: {said or 'none has ended'}{cut}"


def word_of(trial: FrozenTrial) -> str:
    """How a trial ended; one has diverged if one of its runs has."""
    if trial.state is TrialState.COMPLETE:
        return "finished" if math.isfinite(value_of(trial)) else "diverged"
    return "failed" if trial.state is TrialState.FAIL else "open"


def on_edges(trials: Trials, best: FrozenTrial) -> list[str]:
    """Sentences for the ranges on whose edge the best trial lies."""
    optimizer, values = trials.values(best)
    return [
        f"{axis.key}={values[axis.name]:.3g} is on the edge of its range ({axis}): a wider one may be better."
        for axis in trials.space.axes(optimizer)
        if axis.on_edge(values[axis.name])
    ]


def as_record(trials: Trials, best: FrozenTrial, words: Sequence[str], metric: str, study: str) -> dict[str, Any]:
    """The content of `best.yaml`."""
    seeds = [*trials.space.seeds]
    return {
        "overrides": [*words],
        "metric": metric,
        "value": value_of(best),
        "values": dict(zip(seeds, best.user_attrs[VALUES], strict=True)),
        "runs": dict(zip(seeds, best.user_attrs[RUNS], strict=True)),
        "trial": best.number,
        "study": study,
    }


def as_csv(trials: Trials, every: Sequence[FrozenTrial]) -> str:
    """A line for each trial: its value, those of its seeds, and what it set."""
    seeds = trials.space.seeds
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "end", "value", *(f"seed_{seed}" for seed in seeds), "runs", "reason", "overrides"])
    for trial in every:
        attrs = trial.user_attrs
        value = value_of(trial) if trial.state is TrialState.COMPLETE else None
        values = [*attrs.get(VALUES, ()), *[None] * len(seeds)][: len(seeds)]
        runs, words = " ".join(attrs.get(RUNS, ())), shlex.join(attrs.get(OVERRIDES, ()))
        table.writerow([trial.number, word_of(trial), value, *values, runs, attrs.get(REASON), words])
    return text.getvalue()


def write(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))


def console() -> Console:
    """For tables; wide where there is no terminal."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)
