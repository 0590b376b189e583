"""The rounds of a search: trials are asked for, their runs launched, their values told."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.plugins.launcher import Launcher

from steepest.errors import ConfigError
from steepest.launchers.processes import JobFailed
from steepest.sweeps.identify import Identifier, PlannedJob
from steepest.sweeps.ledger import Ledger, State, state
from steepest.sweeps.tuning_study import OVERRIDES, RUNS, Asked, Trials

POLL_S = 0.5
"""Seconds between two looks at runs that another process is at work on."""


class Rounds:
    """Runs trials, round by round.

    Args:
        trials: of the study.
        identifier: finds the runs of a trial.
        launcher: runs them.
        ledger: of the sweep's folder.
        retry_failed: runs that failed before are run again.
    """

    def __init__(
        self, trials: Trials, identifier: Identifier, launcher: Launcher, ledger: Ledger, retry_failed: bool
    ) -> None:
        self.trials, self.identifier, self.launcher, self.ledger = trials, identifier, launcher, ledger
        self.retry_failed = retry_failed
        self.left: set[int] = set()
        """Numbers of trials with a run that was asked to stop: the next command goes on with them."""

    def run(self, total: int, size: int) -> None:
        """Run trials until there are `total`, so many at a time.

        Raises:
            ConfigError: no trial has a value, and all of a round are refused.
        """
        while asked := [*self.trials.ask(size, total, self.left)]:
            planned = {one.number: self._planned(one) for one in asked}
            again = self.retry_failed or any(one.again for one in asked)
            returned = self._launched([job for jobs in planned.values() for job in jobs], again)
            for number, jobs in planned.items():
                if jobs:
                    self._tell(number, jobs, returned)
            refusals = [error for error in returned.values() if isinstance(error, ConfigError)]
            if refusals and len(refusals) == len(returned) and not self.trials.ranked():
                raise refusals[0]

    def _planned(self, one: Asked) -> list[PlannedJob]:
        """The runs of a trial, one a seed; none where its values are not possible, with which it has failed."""
        seeds = self.trials.space.seeds
        try:
            jobs = [self.identifier.identify([*one.overrides, f"seed={seed}"]) for seed in seeds]
        except ConfigError as error:
            self.trials.give_up(one.number, str(error))
            return []
        self.trials.note(one.number, OVERRIDES, one.overrides)
        self.trials.note(one.number, RUNS, [job.run_id for job in jobs])
        return jobs

    def _launched(self, jobs: Sequence[PlannedJob], again: bool) -> dict[str, Exception]:
        """Run those that have no result; returns, by their ids, what the launcher says of those that still have none.

        Args:
            jobs: of a round. Two of its trials may have the same run.
            again: run those again that failed.
        """
        runs = {job.run_id: job for job in jobs}
        while any(state(job.folder, job.digest).word == "running" for job in runs.values()):
            time.sleep(POLL_S)  # jobs of a command that was killed, which go on by themselves
        states = {name: state(job.folder, job.digest) for name, job in runs.items()}
        todo = {name: job for name, job in runs.items() if is_open(job, states[name], again)}
        done = [job for name, job in runs.items() if name not in todo]
        number = self.ledger.add([*todo.values(), *done], Path(jobs[0].config["paths"]["runs_dir"])) if jobs else 0
        if not todo:
            return {}
        force = {name: ["force=true"] if states[name].word == "stale" else [] for name in todo}
        answers = self.launcher.launch([[*job.overrides, *force[name]] for name, job in todo.items()], number)
        errors = {name: error_of(answer) for name, answer in zip(todo, answers, strict=True)}
        return {name: error for name, error in errors.items() if not state(runs[name].folder, runs[name].digest).done}

    def _tell(self, number: int, jobs: Sequence[PlannedJob], returned: Mapping[str, Exception]) -> None:
        """End a trial with what its runs have left; one that was asked to stop is left as it is."""
        states = [state(job.folder, job.digest) for job in jobs]
        if any(one.record.get("status") == "preempted" for one in states):
            self.left.add(number)
            return
        for job, one in zip(jobs, states, strict=True):
            if not one.done:
                said = one.reason if one.word == "failed" else returned.get(job.run_id) or one.reason
                self.trials.give_up(number, f"{job.run_id}: {said}")
                return
        self.trials.tell(number, [job.folder.summary["headline"]["value"] for job in jobs])


def is_open(job: PlannedJob, state: State, again: bool) -> bool:
    """Whether a run is to be run; one that failed only by other source or versions, or `again`."""
    if state.word == "failed":
        return again or state.record.get("source_digest") != job.digest
    return not state.done or job.config["force"]


def error_of(job: Any) -> Exception:
    """Why a job left no result, as far as its launcher knows."""
    try:
        value = job.return_value
    except Exception as error:
        return error
    if isinstance(value, float) and math.isnan(value):
        return ConfigError("its configuration is refused.")  # it has said so itself
    return JobFailed("it left no result")
