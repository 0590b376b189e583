"""Waiting for jobs of SLURM, by the files that they write at their end and by the queue. It imports no torch.

submitit's own waiting never ends for a job that dies without a result on a cluster without accounting.
"""

import contextlib
import pickle
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from steepest.launchers import slurm_queue
from steepest.launchers.lines import MISTAKE
from steepest.launchers.processes import Listener, Outcome
from steepest.launchers.slurm import Submitted

MAY_HAVE_RESULT = ("COMPLETED", "FAILED", "UNKNOWN")

WITHOUT_RESULT = ("BOOT_FAIL", "CANCELLED", "DEADLINE", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT")

FILES_S = 10.0
"""Seconds that a network file system may take to show a file."""


class Wait:
    """Waits for jobs.

    Args:
        jobs: by their index, of which `listener` hears.
        listener: hears of each job that begins and ends.
    """

    def __init__(self, jobs: Mapping[int, Submitted], listener: Listener) -> None:
        self.jobs, self.listener = jobs, listener
        self.left = dict(jobs)
        self.begun: dict[int, float] = {}
        self.gone: dict[int, float] = {}
        self.held: set[int] = set()
        self.outcomes: dict[int, Outcome] = {}

    def run(self) -> dict[int, Outcome]:
        """Wait for all; returns what came of them by their index."""
        began = time.monotonic()
        while self.left:
            self.look()
            if self.left:
                time.sleep(pause(time.monotonic() - began, len(self.left)))
        return self.outcomes

    def look(self) -> None:
        """Ask once how the jobs are."""
        try:
            queued = slurm_queue.queue()
        except slurm_queue.NoAnswer:
            queued = None  # results are seen all the same
        for index, job in [*self.left.items()]:
            outcome = result_of(job, 0)
            if outcome is None and queued is not None:
                outcome = self.of_queue(index, job, queued.get(job.job_id))
            if outcome is not None:
                del self.left[index]
                if outcome.reason:
                    outcome = replace(outcome, seconds=time.monotonic() - self.begun.get(index, time.monotonic()))
                self.outcomes[index] = outcome
                self.listener(index, outcome)

    def of_queue(self, index: int, job: Submitted, queued: slurm_queue.Queued | None) -> Outcome | None:
        """What the queue says of a job without a result; None: it is to be waited for."""
        if queued is None:
            return self.of_the_gone(index, job)
        self.gone.pop(index, None)
        if queued.state == "RUNNING" and index not in self.begun:
            self.begun[index] = time.monotonic()
            self.listener(index, None)
        if queued.reason in slurm_queue.HELD and index not in self.held:
            self.held.add(index)
            print(
                f"job {job.number} is held ({queued.reason}): scontrol release {job.job_id}, or scancel {job.job_id}",
                flush=True,
            )
        return None

    def of_the_gone(self, index: int, job: Submitted) -> Outcome | None:
        """What came of a job that has left the queue without a result."""
        now = time.monotonic()
        since = now - self.gone.setdefault(index, now)
        how = slurm_queue.ended(job.job_id)
        if how.state not in (WITHOUT_RESULT if since < FILES_S else (*WITHOUT_RESULT, *MAY_HAVE_RESULT)):
            return None
        folder = Path(job.result).parent
        with contextlib.suppress(OSError):  # network file systems forget what they have seen of a folder
            folder.chmod(folder.stat().st_mode)
        for other in range(1, len([*folder.glob(f"{job.job_id}_*_result.pkl")]) + 1):
            if outcome := result_of(job, other):  # only a further node could say why
                return outcome
        reason = slurm_queue.sentence(how, job.limit_min)
        if how.state in MAY_HAVE_RESULT:
            reason += f" ({job.output})"
        return Outcome(1, None, 0.0, None, reason)


def pause(waited_s: float, jobs: int) -> float:
    """Seconds between two looks: SLURM's controller serves a whole cluster."""
    return min(30.0, max(1.0, waited_s / 60, jobs / 200))


def result_of(job: Submitted, node: int) -> Outcome | None:
    """What came of a job, as it has said itself on one of its nodes; None: it has not."""
    file = Path(job.result.removesuffix("_0_result.pkl") + f"_{node}_result.pkl")
    try:
        kind, value = pickle.loads(file.read_bytes())  # noqa: S301 - of our own job
    except (FileNotFoundError, EOFError):
        return None
    except (AttributeError, ImportError):  # of a job that an earlier driver has submitted
        return Outcome(1, None, 0.0, None, f"its result is by other source, and cannot be read: {file}")
    if kind == "success":
        return value if node == 0 else None  # others only follow
    name, _, said = next(line for line in reversed(value.splitlines()) if line.strip()).partition(": ")
    mistake, ours = name.endswith(".ConfigError"), name.startswith("steepest.")
    return Outcome(MISTAKE if mistake else 1, None, 0.0, None, said if ours else f"{name}: {said}", value)
