"""What SLURM says of its jobs and of itself, by its own commands. This module imports no torch."""

import re
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

ASK_S = 60.0
"""Seconds after which a command of SLURM is given up; its controller may be busy."""

ARRAY_SIZE = 1001
"""SLURM's own `MaxArraySize`."""

HELD = ("JobHeldAdmin", "JobHeldUser", "launch failed requeued held")
"""Reasons for which a job waits until somebody lets it go."""


@dataclass(frozen=True)
class Queued:
    """A job that waits or runs.

    Args:
        job_id: as `17`, or `17_3` of an array.
        state: PENDING, RUNNING, ...
        reason: why it waits.
        comment: what was written on it.
    """

    job_id: str
    state: str
    reason: str
    comment: str


@dataclass(frozen=True)
class Ended:
    """How a job has left the queue.

    Args:
        state: COMPLETED, FAILED, CANCELLED, ..., or UNKNOWN.
        exit_code: of its batch script.
        signal: that ended the script, or 0.
    """

    state: str
    exit_code: int = 0
    signal: int = 0


class NoAnswer(Exception):
    """SLURM does not answer, as its controller does not while it is restarted."""


def queue() -> dict[str, Queued]:
    """The user's jobs that wait or run, array tasks one by one, by their id.

    Raises:
        NoAnswer: nothing is known.
    """
    lines = ask("squeue", "--me", "--array", "--noheader", "--format=%i|%T|%r|%k").splitlines()
    jobs = [Queued(*line.split("|", 3)) for line in lines if line.count("|") >= 3]
    return {job.job_id: job for job in jobs}


def ended(job_id: str) -> Ended:
    """How a job has ended: the controller knows it for some minutes, accounting, where there is one, for good."""
    try:
        line = ask("scontrol", "--oneliner", "show", "job", job_id)
        found = dict(re.findall(r"\b(JobState|ExitCode)=(\S+)", line))
        if "JobState" in found:
            return _ended(found["JobState"], found.get("ExitCode", "0:0"))
    except NoAnswer:
        pass
    try:
        lines = ask("sacct", "-n", "-X", "-P", "-o", "State,ExitCode", "-j", job_id).splitlines()
        if lines and lines[0].count("|") == 1:
            return _ended(*lines[0].split("|"))
    except NoAnswer:
        pass
    return Ended("UNKNOWN")


def _ended(state: str, codes: str) -> Ended:
    code, _, number = codes.partition(":")
    return Ended(state.split()[0].rstrip("+"), int(code), int(number or 0))  # accounting adds who cancelled it


def sentence(how: Ended, limit_min: int) -> str:
    """Why a job has no result, in a few words.

    Args:
        how: it has left the queue.
        limit_min: its time limit, in minutes.
    """
    if how.state in ("COMPLETED", "FAILED"):
        # A shell reports a process that a signal ended as 128 and the signal's number.
        number = how.signal or (how.exit_code - 128 if how.exit_code > 128 else 0)
        if number in {*signal.Signals}:
            return f"ended by {signal.Signals(number).name}"
        return f"ended with exit code {how.exit_code} and no result; do its nodes share this folder?"
    return {
        "CANCELLED": "cancelled",
        "TIMEOUT": f"did not save and end within its time limit of {limit_min} min",
        "NODE_FAIL": "its node failed, and SLURM did not requeue it",
        "OUT_OF_MEMORY": "ended by SLURM, since its memory ran out",
        "UNKNOWN": "has left the queue without a result, and SLURM does not know why",
    }.get(how.state, f"ended by SLURM ({how.state})")


@cache
def array_size() -> int:
    """The most tasks that an array may have here."""
    try:
        found = re.search(r"MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"))
    except NoAnswer:
        found = None
    return max(1, int(found[1])) if found else ARRAY_SIZE


def cancel(job_ids: Sequence[str]) -> None:
    """Take jobs, or whole arrays, back."""
    if job_ids:
        ask("scancel", *job_ids)


def ask(*command: str) -> str:
    """What a command of SLURM prints.

    Raises:
        NoAnswer: it fails.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=ASK_S).stdout  # noqa: S603
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise NoAnswer(said[-1] if said else command[0]) from None
