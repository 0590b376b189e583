"""A line for each job of a sweep that has ended."""

import math
import time
from collections.abc import Sequence
from pathlib import Path

from steepest.launchers.processes import Outcome

MISTAKE = 2
"""Exit code of a run whose configuration is wrong."""


class JobLines:
    """Listens to `run_jobs` and prints what became of each job.

    Args:
        names: what to call the jobs.
        logs: the files of what they print.
    """

    def __init__(self, names: Sequence[str], logs: Sequence[Path]) -> None:
        self.names, self.logs = names, logs
        self.done, self.begun = 0, time.monotonic()

    def __call__(self, index: int, outcome: Outcome | None) -> None:
        """Print the line of a job that has ended."""
        if outcome is None:
            return
        self.done += 1
        left = len(self.names) - self.done
        eta = f", about {duration((time.monotonic() - self.begun) / self.done * left)} left" if left else ""
        where = f" (see {self.logs[index]})" if outcome.reason else ""
        what = f"{self.names[index]}: {result(outcome)}{where}, {duration(outcome.seconds)}"
        print(f"[{self.done}/{len(self.names)}] {what}{eta}", flush=True)


def distinct(number: int, overrides: Sequence[Sequence[str]]) -> list[str]:
    """Names of jobs, numbered from `number` on, by those of their overrides that not all of them have."""
    common = set.intersection(*map(set, overrides)) if len(overrides) > 1 else set()
    words = (" ".join(word for word in each if word not in common) for each in overrides)
    return [f"job {number + i}{text and f' ({text})'}" for i, text in enumerate(words)]


def result(outcome: Outcome) -> str:
    """What became of a job."""
    if outcome.reason:
        return f"failed: {why(outcome).rstrip('.')}"
    value = outcome.value
    if not isinstance(value, float):
        return f"finished, {value}"
    return "diverged" if math.isnan(value) else f"finished, {value:.4g}"


def why(outcome: Outcome) -> str:
    """The reason of a failure; of a mistake in the configuration only its sentence."""
    reason = str(outcome.reason)
    return reason.partition("steepest: ")[2] or reason if outcome.exit_code == MISTAKE else reason


def duration(seconds: float) -> str:
    """9.5 s, 90 s, 12 min, 3.4 h."""
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
