"""What is done of a study: run folders, and the results that are committed beside its claims."""

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from steepest.errors import ConfigError, listed, shown
from steepest.runs.folder import RunFolder
from steepest.studies.plan import PlannedRun, Result, score
from steepest.studies.study import Row

COSTS = ("opt_steps", "examples", "grad_evals", "wall_s", "elapsed_s", "memory_mb")
PLACE = ("scale", "row", "contender", "phase", "search", "trial", "seed", "run_id", "digest")
COLUMNS = (*PLACE, "status", "metric", "value", "selected_by", "validation", "setting", *COSTS, "command")
"""Of a results.csv."""
STATUSES, PHASES = ("finished", "diverged", "failed"), ("search", "reserve", "evaluate")

Key = tuple[str, str, tuple[str, ...]]
"""Of a result: its run's id, the source digest, and what it must have measured."""


class Ledger:
    """Finds the result of a planned run by its id; only one of the same source digest and metrics counts.

    Args:
        runs_dir: the folder of run folders.
        committed: a results.csv, or a path where there is none.
        retry_failed: failed runs count as not done.
    """

    def __init__(self, runs_dir: Path, committed: Path, retry_failed: bool = False) -> None:
        self.runs_dir, self.retry_failed = runs_dir, retry_failed
        self.stale: set[str] = set()
        """Ids of runs that ended by other source or versions, or measured less: they are run again, and not used."""
        self.lost: dict[str, str] = {}
        """Runs that were launched and have left no result, with why."""
        self._known: dict[Key, Result] = {}
        self._given_up: set[tuple[str, str]] = set()
        self._committed = read_results(committed)

    def look(self, run: PlannedRun) -> Result | None:
        """The result of a run; None: it is to be run."""
        key = run.run_id, run.digest, run.needs
        if key[:2] in self._given_up:
            return Result("failed")
        if key not in self._known:
            found = self._committed.get(key) or self._read(run)
            if found is None:
                return None
            self._known[key] = found
        return self._known[key]

    def give_up(self, runs: Iterable[PlannedRun], why: str) -> None:
        """Count launched runs without a result as failed, so that they are not launched for ever."""
        for run in runs:
            if self.look(run) is None:
                reason = RunFolder(self.runs_dir / run.run_id).status.get("reason") or why
                self.lost[run.run_id] = reason
                self._given_up.add((run.run_id, run.digest))

    def _read(self, run: PlannedRun) -> Result | None:
        folder = RunFolder(self.runs_dir / run.run_id)
        status = folder.status
        word = status.get("status")
        if word not in ("finished", "diverged", "failed") or (word == "failed" and self.retry_failed):
            return None
        # What watches a run is no part of its id, so that one that measured less may have its id.
        lacks = word == "finished" and not {*run.needs} <= {*folder.summary["metrics"]}
        if status["source_digest"] != run.digest or lacks:
            if word != "failed":
                self.stale.add(run.run_id)
            return None
        self.stale.discard(run.run_id)
        if word == "failed":
            self.lost[run.run_id] = status.get("reason") or "no reason is known"
            return Result("failed")
        summary = folder.summary
        costs = {key: summary.get(key) for key in COSTS}
        return Result(word, summary["metrics"], command=status["command"], **costs)


def measured(row: Row, result: Result) -> tuple[float | None, float | None]:
    """The row's metric and the selecting one of a run; None for those that it has not, since it diverged or failed."""
    if result.committed is not None:
        return result.committed["value"], result.committed["validation"]
    if result.status != "finished":
        return None, None
    return result.metrics.get(row.metric), row.sign * score(row, result)


def as_line(row: Row, run: PlannedRun, result: Result) -> dict[str, Any]:
    """A line of a results.csv."""
    value, validation = measured(row, result)
    place = {key: getattr(run, key) for key in COLUMNS if hasattr(run, key)}
    if result.committed is not None:
        return {**result.committed, **place}
    found = {
        "status": result.status,
        "metric": row.metric,
        "value": value,
        "selected_by": row.selected_by,
        "validation": validation,
        "command": shlex.join(["python", "train.py", *run.overrides]),
    }
    return {**place, **{key: getattr(result, key) for key in COSTS}, **found}


def read_results(file: Path) -> dict[Key, Result]:
    """The lines of a results.csv as results, by run id, digest and metrics: a row may have come to compare others.

    Raises:
        ConfigError: a file that is none.
    """
    if not file.is_file():
        return {}
    frame = read_csv(file).astype(object)
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ConfigError(f"{file} lacks the columns {listed(missing)}; allowed is what `reproduce` writes.")
    frame = frame.where(frame.notna(), None)
    for key, allowed in (("status", STATUSES), ("phase", PHASES)):
        if strange := [one for one in frame[key] if one not in allowed]:
            raise ConfigError(f"{file}: {key}={shown(strange[0])} is not possible; allowed are {listed(allowed)}.")
    for key in ("value", "validation", *COSTS):
        if strange := [one for one in frame[key] if not isinstance(one, int | float | None)]:
            raise ConfigError(f"{file}: {key}={shown(strange[0])} is not possible; allowed are numbers.")
    lines: list[dict[str, Any]] = frame[frame["status"] != "failed"].to_dict("records")
    return {_key(line): _result(line) for line in lines}


def read_csv(file: Path) -> pd.DataFrame:
    """A table as it was written: ids stay text, and numbers the same to the last bit.

    Raises:
        ConfigError: a file that is no table.
    """
    try:
        return pd.read_csv(file, dtype={"run_id": str, "digest": str})
    except ValueError as error:  # pandas' own, and text that is no UTF-8
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{file} cannot be read ({reason}); allowed is what `reproduce` writes.") from None


def _key(line: dict[str, Any]) -> Key:
    metrics = (line["selected_by"], line["metric"]) if line["phase"] == "evaluate" else (line["selected_by"],)
    return str(line["run_id"]), str(line["digest"]), metrics


def _result(line: dict[str, Any]) -> Result:
    costs = {key: line[key] for key in COSTS}
    return Result(line["status"], {}, command=str(line["command"]), committed=line, **costs)
