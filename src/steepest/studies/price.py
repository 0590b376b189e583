"""What a run costs: from runs that are done, or from two seconds of one."""

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from steepest.errors import ConfigError
from steepest.launchers.processes import Job, run_jobs
from steepest.runs.folder import RunFolder

PROBE_S = 2.0
"""Seconds of training in a probe."""


@dataclass(frozen=True)
class Price:
    """Of one run."""

    steps: int
    seconds: float
    memory_mb: float
    basis: str
    """Where it is from."""


def seen(costs: Sequence[Mapping[str, Any]]) -> Price:
    """The price by runs that are done.

    Args:
        costs: of each run, as `summary.json` has them: `opt_steps`, `elapsed_s` and `memory_mb`.
    """
    return Price(
        int(statistics.median(cost["opt_steps"] or 0 for cost in costs)),
        statistics.fmean(cost["elapsed_s"] or 0.0 for cost in costs) + 1.0,  # and a second to begin
        max(cost["memory_mb"] or 0.0 for cost in costs),
        f"{len(costs)} runs",
    )


def probe(words: Sequence[str], basis: str) -> tuple[Price, dict[str, Any]]:
    """The price by training for two seconds, with one validation and a test; and the summary of that run.

    Args:
        words: the overrides of the run.
        basis: what to call this.

    Raises:
        ConfigError: the run does not work; the sentence says only why.
    """
    with tempfile.TemporaryDirectory() as place:
        own = [f"paths.runs_dir={place}/runs", "logger=none", f"budget.seconds={PROBE_S}"]
        log = Path(place) / "log.txt"
        [outcome] = run_jobs([Job(resolve_name("steepest.cli:main"), [["train", *words, *own]], log=log)], 1)
        folders = [RunFolder(path) for path in Path(place).glob("runs/r*")]
        if not folders or folders[0].status["status"] not in ("finished", "diverged"):
            why = folders[0].status.get("reason") if folders else None
            said = [line for line in log.read_text().splitlines() if line.strip()] if log.is_file() else []
            raise ConfigError(str(why or (said[-1].removeprefix("steepest: ") if said else outcome.reason)))
        summary = folders[0].summary
        rows = folders[0].rows()
    trained, steps = max(summary["wall_s"], 1e-3), max(summary["opt_steps"], 1)
    validations = max(1, math.ceil(summary["total_steps"] / summary["validation_steps"]))
    looks = 1 + len([one for one in rows if any(key.startswith("val/") for key in one)])
    each_look = max(summary["elapsed_s"] - trained, 0.0) / looks
    training = trained / steps * summary["total_steps"]
    for word in words:
        if word.startswith("budget.seconds="):
            training = min(training, float(word.partition("=")[2]))
    seconds = outcome.seconds - summary["elapsed_s"] + training + each_look * (validations + 1)
    return Price(round(training / trained * steps), seconds, summary["memory_mb"], basis), summary
