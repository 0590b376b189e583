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
from steepest.sweeps.ledger import Ledger, State, is_open, state
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
            errors = self._launched([job for jobs in planned.values() for job in jobs], again)
            for number, jobs in planned.items():
                if jobs:
                    self._tell(number, jobs, errors)
            refusals = [error for error in errors.values() if isinstance(error, ConfigError)]
            if refusals and len(refusals) == len(errors) and not self.trials.ranked():
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
        """Run those that have no result; returns, by their ids, why some still have none.

        Args:
            jobs: of a round. Two of its trials may have the same run.
            again: run those again that failed.
        """
        runs = {job.run_id: job for job in jobs}
        under_way: set[str] = getattr(self.launcher, "under_way", set)()  # the launcher waits for these itself
        while any(name not in under_way and stands(job).word == "running" for name, job in runs.items()):
            time.sleep(POLL_S)  # jobs of a command that was killed, which go on by themselves
        states = {name: stands(job) for name, job in runs.items()}
        needed = ("stale", "running")
        todo = [job for name, job in runs.items() if is_open(job, states[name], again) or states[name].word in needed]
        done = [job for job in runs.values() if job not in todo]
        number = self.ledger.add([*todo, *done], Path(jobs[0].config["paths"]["runs_dir"])) if jobs else 0
        if not todo:
            return {}
        words = [[*job.overrides, *["force=true"] * (states[job.run_id].word == "stale")] for job in todo]
        answers = self.launcher.launch(words, number)
        lost = [index for index, job in enumerate(todo) if not stands(job).done]
        errors = {index: error_of(answers[index]) for index in lost}
        self.ledger.fail({number + index: reason(error) for index, error in errors.items()})
        return {todo[index].run_id: error for index, error in errors.items()}

    def _tell(self, number: int, jobs: Sequence[PlannedJob], errors: Mapping[str, Exception]) -> None:
        """End a trial with what its runs have left; one that was asked to stop is left as it is."""
        states = [stands(job) for job in jobs]
        if any(one.record.get("status") == "preempted" for one in states):
            self.left.add(number)
            return
        values: list[float | None] = []
        for job, one in zip(jobs, states, strict=True):
            if not one.done:
                error = errors.get(job.run_id)
                why = one.reason if one.word == "failed" or error is None else reason(error)
                self.trials.give_up(number, f"{job.run_id}: {why}")
                return
            values.append(job.folder.summary["headline"]["value"] if one.word == "finished" else None)
        self.trials.tell(number, values)


def stands(job: PlannedJob) -> State:
    """How the run of a job stands."""
    return state(job.folder, job.digest)


def error_of(answer: Any) -> Exception:
    """Why a job left no result, as far as its launcher knows."""
    value = answer._return_value  # the public one prints Hydra's lines before it raises
    if isinstance(value, Exception):
        return value
    if isinstance(value, float) and math.isnan(value):
        return ConfigError("its configuration is refused.")  # it has said so itself
    return JobFailed("it left no result")


def reason(error: Exception) -> str:
    """An error without the job that it names."""
    return " ".join(str(error).split()).partition(" (job ")[0] or type(error).__name__
