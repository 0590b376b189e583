"""How a sweep goes on, for people: a line for each job that has ended, and on a terminal a table of those that run."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from steepest.launchers.processes import Outcome
from steepest.runs.headline import Headline

MISTAKE = 2
"""Exit code of a run whose configuration is wrong."""

SHOWN = 20
"""Running jobs in the table."""


@contextmanager
def shown(names: Sequence[str], logs: Sequence[Path]) -> Iterator["JobLines"]:
    """A listener for `run_jobs`, with the table below its lines while the body runs, on a terminal."""
    console = Console(highlight=False)
    lines = JobLines(names, logs, console)
    if not console.is_terminal:
        yield lines
        return
    with Live(get_renderable=lines.table, console=console, refresh_per_second=2, transient=True):
        yield lines


class JobLines:
    """Listens to `run_jobs` and prints what became of each job.

    Args:
        names: what to call the jobs.
        logs: the files of what they print.
        console: where to; None: standard output.
    """

    def __init__(self, names: Sequence[str], logs: Sequence[Path], console: Console | None = None) -> None:
        self.names, self.logs, self.console = names, logs, console or Console(highlight=False)
        self.done, self.failed, self.begun = 0, 0, time.monotonic()
        self.running: dict[int, float] = {}
        """When each job that runs has begun, by its index."""
        self.best: tuple[Headline, int] | None = None

    def __call__(self, index: int, outcome: Outcome | None) -> None:
        """Note a job that begins, or print the line of one that has ended."""
        if outcome is None:
            self.running[index] = time.monotonic()
            return
        self.running.pop(index, None)
        self.done += 1
        self.failed += bool(outcome.reason)
        value = outcome.value
        if isinstance(value, Headline) and value.direction and (not self.best or value.better_than(self.best[0])):
            self.best = value, index
        where = f" (see {self.logs[index]})" if outcome.reason else ""
        what = f"{self.names[index]}: {result(outcome)}{where}, {duration(outcome.seconds)}"
        left = self.left_s()
        eta = f", about {duration(left)} left" if left else ""
        self.console.print(f"[{self.done}/{len(self.names)}] {what}{eta}", markup=False, soft_wrap=True)

    def left_s(self) -> float:
        """Seconds until all jobs have ended, by the pace up to now; 0 before the first has, and after the last."""
        left = len(self.names) - self.done
        return (time.monotonic() - self.begun) / self.done * left if self.done else 0.0

    def table(self) -> Group:
        """The jobs that run, and how all of them stand."""
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        now = time.monotonic()
        for index, begun in [*self.running.items()][:SHOWN]:
            table.add_row(Text(self.names[index]), Text(duration(now - begun)))
        if (more := len(self.running) - SHOWN) > 0:
            table.add_row(f"and {more} more", "")
        return Group(table, Text(self.standing()))

    def standing(self) -> str:
        """How all jobs stand, in a sentence."""
        waiting = len(self.names) - self.done - len(self.running)
        parts = [f"{len(self.running)} running", f"{self.done - self.failed} done", f"{self.failed} failed"]
        parts += [f"{waiting} to come"] + ([f"about {duration(left)} left"] if (left := self.left_s()) else [])
        if self.best:
            value, index = self.best
            parts.append(f"best {value.metric} so far {value:.4g} ({self.names[index]})")
        return ", ".join(parts)


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
