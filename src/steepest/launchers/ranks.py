"""One process per device, started and watched by us: Lightning's own launcher would run a whole sweep again."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from steepest.callbacks.interruption import ASKED
from steepest.launchers.group import Group
from steepest.launchers.processes import Job, JobFailed, Outcome, run_jobs
from steepest.runs.folder import Diverged, Preempted, RunFolder

TOLD = "Stopping at the end of this step; Ctrl-C again stops at once, without saving."

SHOWN_LINES = 20
"""Lines of the log that are shown of a rank that could not say why it ended."""


class End(NamedTuple):
    """How training ended on a rank; the ranks find it together.

    Args:
        status: finished, diverged or preempted.
        reason: why, where it is not finished.
    """

    status: str
    reason: str | None = None


class RankFailed(JobFailed):
    """A rank failed, and with it the run."""


def run_ranks(folder: RunFolder, train_rank: Callable[[str, str], End], count: int, group: Group) -> None:
    """Run `train_rank` on `count` processes that join into one group, and wait; if one fails, all are ended.

    The first Ctrl-C or SIGTERM is handed on, for the ranks to save and end together; a second Ctrl-C ends them at once.

    Args:
        folder: a run folder whose configuration the ranks read.
        train_rank: takes the folder and the log as paths.
        count: processes, one per device of this machine.
        group: the machines whose ranks train together.

    Raises:
        Diverged: the loss is no longer finite.
        Preempted: the run was asked to end, and is saved.
        RankFailed: a rank failed; its traceback is in the log, and is shown.
    """
    log = group.log(folder)
    jobs = [
        Job(
            train_rank,
            [str(folder.path), str(log)],
            log=log,
            environment=group.environment(rank, count),
            shown=True,
            orphan_s=0.0,  # the folder is no longer held
        )
        for rank in range(count)
    ]
    ended: dict[int, Outcome] = {}  # in the order in which they did

    def note(rank: int, outcome: Outcome | None) -> None:
        if outcome:
            ended[rank] = outcome

    asked = None
    try:
        # The ranks see all GPUs of this process, and each takes that of its LOCAL_RANK.
        run_jobs(jobs, count, on_event=note, devices=(), together=True, told=TOLD)
    except (KeyboardInterrupt, SystemExit) as stop:
        if len(ended) < count:
            raise  # at once
        asked = signal.SIGINT if isinstance(stop, KeyboardInterrupt) else signal.SIGTERM
    ends = [outcome.value for outcome in ended.values() if outcome.reason is None]
    if len(ends) < count and (asked or any(outcome.exit_code == -signal.SIGTERM for outcome in ended.values())):
        raise preempted(asked)  # before it was training
    for rank, outcome in ended.items():
        if outcome.reason:
            raise failed(f"rank {group.node * count + rank} of {group.nodes * count}", outcome, log)
    judge(ends, asked)


def judge(ends: Sequence[End], asked: signal.Signals | None) -> None:
    """Raise what the ranks have found together."""
    for end in ends:
        if end.status == "preempted":
            raise preempted(asked)
        if end.status == "diverged":
            raise Diverged(end.reason)


def preempted(asked: signal.Signals | None) -> Preempted:
    """The exception for a signal; None: another process was asked."""
    number = asked or signal.SIGTERM
    return Preempted(ASKED[number], 128 + number)


def failed(name: str, outcome: Outcome, log: Path) -> RankFailed:
    """Show what a rank said at its end, and return the exception."""
    said = outcome.traceback or "\n".join(log.read_text(errors="replace").splitlines()[-SHOWN_LINES:])
    print(said.rstrip(), file=sys.stderr)
    return RankFailed(f"{name} failed: {str(outcome.reason).rstrip('.')}; see {log}")
