"""An Optuna study in a database: which trials are done, which were cut off, and what is tried next."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import qmc

from steepest.errors import ConfigError, listed
from steepest.sweeps.tuning_space import Axis, Space

SAMPLERS = ("tpe", "random", "sobol")

RECORD = "record"
"""The attribute of a study that says what it is about."""

OVERRIDES, RUNS, VALUES, REASON, RETRIES = "overrides", "runs", "values", "reason", "retries"
"""Attributes of a trial: its words, the ids and values of its runs, why it failed, and the trial that it repeats."""

DIRECTIONS = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}


@dataclass(frozen=True)
class Asked:
    """A trial that is to be run."""

    number: int
    overrides: list[str]
    """Without a seed."""
    again: bool
    """Runs of it that failed are run again."""


class Trials:
    """The trials of a study.

    A trial that the storage has as running was left behind by a process that died, since one process at a time works on
    a study: it is gone on with, under its number and with its values.

    Args:
        storage: of Optuna.
        name: the study's; it is made if it is not there.
        space: what is tuned.
        record: what the study is about.
        direction: min or max.
        sampler: one of `SAMPLERS`.
        seed: of the sampler. Each trial draws from a stream of its own, so that a search that was cut off goes on as it
            would have.

    Raises:
        ConfigError: the storage has a study of this name about something else.
    """

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        space: Space,
        record: Mapping[str, Any],
        direction: str,
        sampler: str,
        seed: int,
    ) -> None:
        self.storage, self.space, self.sampler, self.seed = storage, space, sampler, seed
        self.sign = 1.0 if direction == "min" else -1.0
        self.study = optuna.create_study(
            storage=storage, study_name=name, direction=DIRECTIONS[direction], load_if_exists=True
        )
        known = self.study.user_attrs.get(RECORD)
        if known is None and self.study.trials:
            known = {}  # not of ours
        if known is None:
            self.study.set_user_attr(RECORD, dict(record))
        elif differs := [key for key in record if known.get(key) != record[key]]:
            raise ConfigError(
                f"hydra.sweeper.study_name={name} is a study with another {listed(differs)} in its storage; allowed is "
                "another name, or null."
            )

    @property
    def all(self) -> list[FrozenTrial]:
        """All trials but those that were retried."""
        return counted(self.study.get_trials(deepcopy=False))

    def retry_failed(self) -> None:
        """Let the trials that failed be tried again, with the same values."""
        for trial in self.all:
            if trial.state is TrialState.FAIL:
                self.study.enqueue_trial(trial.params, user_attrs={RETRIES: trial.number})

    def ask(self, count: int, total: int, skipped: set[int]) -> Iterator[Asked]:
        """The next trials: first those that were left behind.

        Args:
            count: how many at most.
            total: of all trials that the study is to have.
            skipped: numbers of trials that are left as they are.
        """
        trials = self.all
        left = [one for one in trials if one.state is TrialState.RUNNING and one.number not in skipped]
        for one in left[:count]:
            yield self._asked(self._trial(one.number))
        waiting = sum(one.state is TrialState.WAITING for one in trials)
        for _ in range(min(count - len(left), waiting + max(total - len(trials), 0))):
            if self.sampler == "sobol" and not waiting:
                self.study.enqueue_trial(self._point(len(self.study.get_trials(deepcopy=False))))
            waiting = max(waiting - 1, 0)
            yield self._asked(self.study.ask())

    def note(self, number: int, key: str, value: Any) -> None:
        """Keep something with a trial that is not done."""
        self._trial(number).set_user_attr(key, value)

    def tell(self, number: int, values: Sequence[float | None]) -> None:
        """End a trial with the values of its seeds; None: the run diverged, which is worse than all others.

        TPE only asks which of two trials is better, so that an infinite value stands for the worst.
        """
        self.note(number, VALUES, [*values])
        worst = self.sign * math.inf
        self.study.tell(number, sum(worst if one is None else one for one in values) / len(values))

    def give_up(self, number: int, reason: str) -> None:
        """End a trial that has no value."""
        self.note(number, REASON, reason)
        self.study.tell(number, state=TrialState.FAIL)

    def ranked(self) -> list[FrozenTrial]:
        """The trials that have a value, the best first."""
        done = [one for one in self.all if one.state is TrialState.COMPLETE]
        return sorted(done, key=lambda one: (self.sign * value_of(one), one.number))

    def values(self, trial: FrozenTrial) -> tuple[str, dict[str, Any]]:
        """The optimizer of a trial, and the values of its dimensions."""
        optimizer = trial.params.get("optimizer", self.space.optimizers[0])
        axes = self.space.axes(optimizer)
        return optimizer, {axis.name: turned(axis, trial.params[name_of(axis)]) for axis in axes}

    def _trial(self, number: int) -> optuna.Trial:
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        return optuna.Trial(self.study, self.storage.get_trial_id_from_study_id_trial_number(study_id, number))

    def _asked(self, trial: optuna.Trial) -> Asked:
        """A trial with all its values: those that it has already, and others as the sampler draws them."""
        self.study.sampler = self._sampler(trial.number)
        names = self.space.optimizers
        optimizer = trial.suggest_categorical("optimizer", names) if len(names) > 1 else names[0]
        values = {axis.name: turned(axis, suggested(trial, axis)) for axis in self.space.axes(optimizer)}
        return Asked(trial.number, self.space.overrides(optimizer, values), RETRIES in trial.user_attrs)

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        if self.sampler != "tpe":
            return optuna.samplers.RandomSampler(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # group is experimental
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)

    def _point(self, number: int) -> dict[str, Any]:
        """A point of a scrambled sequence, the optimizers in turn."""
        count = len(self.space.optimizers)
        optimizer = self.space.optimizers[number % count]
        axes = self.space.axes(optimizer)
        sequence = qmc.Sobol(len(axes), seed=self.seed)
        if before := number // count:
            sequence.fast_forward(before)
        shares = dict(zip(axes, sequence.random(1)[0], strict=True))
        point = {name_of(axis): turned(axis, axis.at(float(share))) for axis, share in shares.items()}
        return {"optimizer": optimizer, **point} if count > 1 else point


def open_storage(url: str | None, default: Path) -> tuple[RDBStorage, str]:
    """A storage and its address without a password.

    Args:
        url: of a database; None: a SQLite file.
        default: that file.

    Raises:
        ConfigError: it cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    shown = url or f"sqlite:///{default}"
    try:
        address = sqlalchemy.make_url(shown)
        shown = address.render_as_string(hide_password=True)
        if url is None:
            default.parent.mkdir(parents=True, exist_ok=True)
        # SQLite's own wait for another process is 5 s, which a slow disk can exceed.
        options = {"connect_args": {"timeout": 60}} if address.get_backend_name() == "sqlite" else {}
        return RDBStorage(address.render_as_string(hide_password=False), engine_kwargs=options), shown
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError, RuntimeError) as error:
        reason = str(error.__cause__ or error).splitlines()[0].rstrip(".")
        raise ConfigError(
            f"hydra.sweeper.storage={shown} cannot be used ({reason}); allowed is the URL of a database, such as "
            "sqlite:///search.db, or null."
        ) from None


def counted(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The trials without those that were tried again."""
    retried = {trial.user_attrs.get(RETRIES) for trial in trials}
    return [trial for trial in trials if trial.number not in retried]


def value_of(trial: FrozenTrial) -> float:
    """The value of a trial that is done."""
    assert trial.value is not None
    return trial.value


def name_of(axis: Axis) -> str:
    """What the storage calls a dimension: of one that is even in its distance to 1 it has that distance."""
    return f"1 - {axis.name}" if axis.scale == "log_one_minus" else axis.name


def turned(axis: Axis, value: Any) -> Any:
    """A value of a dimension as the storage has it, and the other way round."""
    return 1.0 - value if axis.scale == "log_one_minus" else value


def suggested(trial: optuna.Trial, axis: Axis) -> Any:
    """What a trial has for a dimension, as the storage has it."""
    name, low, high, log = name_of(axis), axis.low, axis.high, axis.scale == "log"
    if axis.words:
        return trial.suggest_categorical(name, axis.words)
    if axis.integer:
        return trial.suggest_int(name, int(low), int(high), step=int(axis.step or 1), log=log)
    if axis.scale == "log_one_minus":
        return trial.suggest_float(name, 1.0 - high, 1.0 - low, log=True)
    return trial.suggest_float(name, low, high, step=axis.step, log=log)


def trials_there(url: str | None, default: Path, name: str) -> list[FrozenTrial]:
    """The trials of a study that may not be there yet; see `open_storage`."""
    if url is None and not default.exists():
        return []
    try:
        return counted(optuna.load_study(study_name=name, storage=open_storage(url, default)[0]).get_trials())
    except KeyError:
        return []
