"""Which jobs of a sweep SLURM has in its queue."""

import json
import shutil
import subprocess
from pathlib import Path

JOBS_OF_SLURM = "slurm.jsonl"
"""The file in a sweep's folder that says which SLURM job each of its jobs is."""

WORDS = {"RUNNING": "running", "COMPLETING": "running", "PENDING": "queued", "SUSPENDED": "queued"}


class Queue:
    """SLURM's queue as it is now, for a sweep that was submitted to it; empty for others.

    Args:
        folder: of the sweep.
    """

    def __init__(self, folder: Path) -> None:
        self._jobs: dict[int, str] = {}
        self._states: dict[str, str] = {}
        file = folder / JOBS_OF_SLURM
        if not file.is_file():
            return
        lines = [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        self._jobs = {line["number"]: line["job_id"] for line in lines}
        if squeue := shutil.which("squeue"):
            asked = [squeue, "--noheader", "--array", "--me", "--format=%i %T"]
            answer = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
            self._states = dict(line.split(maxsplit=1) for line in answer.stdout.splitlines())

    def word(self, number: int) -> str | None:
        """`running`, `queued`, or None for a job that is not in the queue."""
        return WORDS.get(self._states.get(self._jobs.get(number, ""), "").strip())
