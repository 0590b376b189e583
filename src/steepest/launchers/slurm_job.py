"""What a job of SLURM does on each of its nodes: it lets a run train in a process of its own, and watches it.

This process has no torch in it. A crash or a kill of the run is seen here, and is told to SLURM; a warning of SLURM,
before the time limit or a preemption, becomes the run's order to save and end, and the job goes back into the queue.
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from types import FrameType
from typing import Any, NoReturn

from steepest.errors import ConfigError
from steepest.launchers.lines import MISTAKE, why
from steepest.launchers.processes import Job, JobFailed, Outcome, run_jobs

WARNING = signal.SIGUSR2
"""What submitit asks SLURM to send; it goes to every process of the job, and only this one takes it."""

PATIENCE_S = 600.0
"""Seconds that a job which was told to end waits for SLURM to end it: the grace of a preemption may be minutes."""

LAST_S = 15.0
"""Seconds that a failed node leaves to the first one, which says why the run failed if it can."""


@dataclass
class SlurmRun:
    """The call that submitit makes in a job; a requeued job makes it again.

    Args:
        job: trains, in a process of its own, and goes on where it was cut off.
    """

    job: Job
    warned: bool = False

    def __call__(self) -> Outcome:
        """Train; returns what came of it.

        Raises:
            ConfigError: the run's configuration is wrong.
            JobFailed: it failed.
        """
        self.warned = False
        node = int(os.environ.get("SLURM_NODEID", "0"))
        step = {key: value for key, value in os.environ.items() if key.startswith("SLURM_")}
        log = self.job.log.with_suffix(f".node{node}.log") if node else self.job.log
        job = replace(self.job, log=log, environment=step)  # as if srun had started it
        requeue = signal.signal(WARNING, self.warn)
        try:
            [outcome] = run_jobs([job], n_jobs=1, on_event=self.begun, devices=())  # those that SLURM gave
        except SystemExit:  # SIGTERM, by SLURM or by `warn`; the run has saved and ended
            if not self.warned:
                self.wait_for_the_end()
            if not node:
                self.requeue(requeue)
            return Outcome(0, None, 0.0, None, None)  # the first node puts the job back into the queue
        finally:
            signal.signal(WARNING, requeue)
        if outcome.reason:
            if node:
                time.sleep(LAST_S)
            raise (ConfigError if outcome.exit_code == MISTAKE else JobFailed)(why(outcome))
        return outcome

    def warn(self, number: int, frame: FrameType | None) -> None:
        """Let the run save and end."""
        self.warned = True
        os.kill(os.getpid(), signal.SIGTERM)

    def begun(self, index: int, outcome: Outcome | None) -> None:
        """Tell a run that began just when the warning came."""
        if outcome is None and self.warned:
            os.kill(os.getpid(), signal.SIGTERM)

    def wait_for_the_end(self) -> None:
        """Wait for SLURM, which sends SIGTERM before it kills; a result would be taken for that of the run.

        Raises:
            JobFailed: it was not SLURM.
        """
        print("Told to end (SIGTERM): the run has ended where it could save; waiting for SLURM.", flush=True)
        end = time.monotonic() + PATIENCE_S
        while not self.warned:
            if time.monotonic() > end:
                raise JobFailed("told to end (SIGTERM) by something that is not SLURM")
            time.sleep(0.2)

    def requeue(self, handler: Any) -> NoReturn:
        """Let submitit put the job back into the queue and end this process."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        handler(WARNING, None)
        raise JobFailed("the job could not go back into the queue")

    def checkpoint(self) -> Any:
        """What the requeued job does, as submitit wants to know it: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
