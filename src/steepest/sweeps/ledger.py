"""What is done of a sweep: `jobs.jsonl` in its folder says which runs it means, the run folders say the rest."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from steepest.errors import ConfigError
from steepest.runs.folder import RunFolder, now, process
from steepest.runs.lock import lock
from steepest.sweeps.identify import PlannedJob

JOBS = "jobs.jsonl"

ENDED = ("finished", "diverged")


@dataclass(frozen=True)
class State:
    """How a run of a sweep stands.

    Args:
        word: finished, diverged, failed, preempted, running, queued, missing or stale.
        reason: of a failure or of a preemption.
        record: of `status.json`, as far as there is one.
    """

    word: str
    reason: str | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether there is a result."""
        return self.word in ENDED


def state(folder: RunFolder, digest: str) -> State:
    """How the run in a folder stands; a result by other source or versions than those of the digest is stale."""
    record = folder.status
    word = record.get("status")
    if word in ENDED:
        fresh = record["source_digest"] == digest
        return State(word, record=record) if fresh else State("stale", "by other source or versions", record)
    if word == "failed":
        return State(word, record.get("reason"), record)
    if folder.running:
        return State("running", record=record)
    if word is None:
        return State("missing")
    reason = record.get("reason") or f"cut off on {record['host']}"  # a process that was killed could not say so
    return State("preempted", reason, record)


def is_open(job: PlannedJob, stands: State, retry_failed: bool) -> bool:
    """Whether a job is to be run: one without a result, or with `force=true`.

    One that failed is, if that was by other source or versions, or with `retry_failed`.
    """
    if stands.word == "running":
        return False
    if job.config["force"]:
        return True
    if stands.word == "failed":
        return retry_failed or stands.record["source_digest"] != job.digest
    return stands.word in ("missing", "preempted")


class Meant(Protocol):
    """A run that a job means."""

    @property
    def run_id(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102
    @property
    def overrides(self) -> Sequence[str]: ...  # noqa: D102


@dataclass(frozen=True)
class Entry:
    """A job of a sweep as its ledger has it."""

    number: int
    run_id: str
    digest: str
    overrides: list[str]


class Ledger:
    """The jobs of a sweep, in `jobs.jsonl` of its folder: a line for each, and one for each command that added some.

    Only ever appended to. A run that is launched again has a line of its own, with a new number.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / JOBS

    def lines(self) -> list[dict[str, Any]]:
        """All lines; a last one that was cut off in the middle is left out."""
        if not self.file.is_file():
            return []
        try:
            return [json.loads(line) for line in self.file.read_text().splitlines(keepends=True) if "\n" in line]
        except ValueError as error:
            raise ConfigError(f"{self.file} cannot be read ({error}); allowed is what a sweep writes.") from None

    def entries(self) -> list[Entry]:
        """The latest line of each run."""
        found = [Entry(**line) for line in self.lines() if "run_id" in line]
        return [*{entry.run_id: entry for entry in found}.values()]

    def commands(self) -> list[dict[str, Any]]:
        """The commands, each with `command`, `host`, `pid`, `at` and the `runs_dir`."""
        return [line for line in self.lines() if "command" in line]

    def failures(self) -> dict[int, str]:
        """Why jobs failed, by their numbers, as their launcher told; one that began no run has left no other record."""
        return {line["failed"]: line["reason"] for line in self.lines() if "failed" in line}

    def next_number(self) -> int:
        """The first number that no job has."""
        return max((line["number"] for line in self.lines() if "number" in line), default=-1) + 1

    def add(self, jobs: Sequence[Meant], runs_dir: Path) -> int:
        """Note these jobs and the command that begins them; returns the number of the first."""
        first = self.next_number()
        self._append(
            [
                {**process(), "at": now(), "runs_dir": str(runs_dir.absolute())},
                *(
                    {"number": number, "run_id": job.run_id, "digest": job.digest, "overrides": [*job.overrides]}
                    for number, job in enumerate(jobs, first)
                ),
            ]
        )
        return first

    def fail(self, reasons: Mapping[int, str]) -> None:
        """Note why jobs failed, by their numbers."""
        self._append([{"failed": number, "reason": reason} for number, reason in reasons.items()])

    def _append(self, lines: Sequence[Mapping[str, Any]]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def own_folder(wanted: Path, may_differ: bool) -> Iterator[Path]:
    """Hold the folder of a sweep while the body runs.

    Args:
        wanted: the folder.
        may_differ: take one with a number behind its name, if another process works in it.

    Raises:
        ConfigError: another process works in it, or it cannot be written.
    """
    with ExitStack() as stack:
        for number in range(1, 100):
            folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
            try:
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock(folder / "lock"))
                break
            except OSError as error:
                raise ConfigError(
                    f"hydra.sweep.dir: {folder} cannot be written ({error.strerror}); allowed is a writable folder."
                ) from None
            except ConfigError:
                if not may_differ or number == 99:
                    raise
        yield folder
