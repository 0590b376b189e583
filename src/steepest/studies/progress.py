"""How far a study has come: looks into the run folders while a launcher is at work, whichever that is."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from steepest.runs.files import read_json
from steepest.studies.plan import PlannedRun

POLL_S, SAY_S = 1.0, 30.0
"""Seconds between two looks, and between two lines where there is no terminal."""


class Watch:
    """A bar over all runs of a study, with the time that is left; lines where there is no terminal.

    Args:
        runs_dir: the folder of run folders.
        done: runs of the study that are done.
        expected_s: seconds that the runs not yet done take one after the other, by the bill.
        jobs: runs at a time.
    """

    def __init__(self, runs_dir: Path, done: int, expected_s: float, jobs: int) -> None:
        self.runs_dir, self.total, self.done, self.first = runs_dir, done, done, done
        self.expected_s, self.jobs = expected_s, jobs
        self._begun = time.monotonic()
        self._open: dict[str, PlannedRun] = {}
        self._ends: dict[str, int] = {"finished": 0, "diverged": 0, "failed": 0}
        self._over = threading.Event()
        self._counting = threading.Lock()  # the thread that looks counts, too
        console = Console(highlight=False)
        self._live = console.is_terminal
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._bar = Progress(*columns, console=console, disable=not self._live)
        self._task = self._bar.add_task("runs", total=None, completed=done, left="")
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._bar.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._count()
        self._bar.stop()
        if self.done > self.first:
            print(self._line(), flush=True)

    def begin(self, runs: Sequence[PlannedRun], total: int) -> None:
        """These are launched now; those of the round before have ended, however.

        Args:
            runs: of this round.
            total: runs of the whole study, those included that are done and those that are not planned yet.
        """
        self._count()
        with self._counting:
            self.total = total
            self._bar.update(self._task, total=total)
            self.done += len(self._open)
            self._open = {run.run_id: run for run in runs}

    def left_s(self) -> float:
        """Seconds that are left: by the bill, corrected by what the runs that have ended since took."""
        done, gone = self.done - self.first, time.monotonic() - self._begun
        todo = self.total - self.done
        billed = self.expected_s / self.jobs * todo / max(self.total - self.first, 1)
        return billed if not done else 0.5 * billed + 0.5 * gone / done * todo if done < 4 else gone / done * todo

    def _look(self) -> None:
        said = time.monotonic()
        while not self._over.wait(POLL_S):
            self._count()
            if not self._live and time.monotonic() - said >= SAY_S:
                said = time.monotonic()
                print(self._line(), flush=True)

    def _count(self) -> None:
        with self._counting:
            for run_id, run in [*self._open.items()]:
                status = read_json(self.runs_dir / run_id / "status.json")
                word = status.get("status")
                if word in self._ends and status.get("source_digest") == run.digest:
                    self._ends[word] += 1
                    self.done += 1
                    del self._open[run_id]
            self._bar.update(self._task, completed=self.done, left=f"about {minutes(self.left_s())} left")

    def _line(self) -> str:
        lost = ", ".join(f"{self._ends[word]} {word}" for word in ("diverged", "failed") if self._ends[word])
        left = f"; about {minutes(self.left_s())} left" if self.done < self.total else ""
        return f"{self.done:,} of {self.total:,} runs are done{f' ({lost})' if lost else ''}{left}"


def minutes(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
