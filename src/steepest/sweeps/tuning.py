"""A search from its command line to its best setting: a space, a study in a database, rounds of runs, a table."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf

from steepest.errors import ConfigError, listed, shown
from steepest.sweeps import bill
from steepest.sweeps.identify import Identifier, PlannedJob
from steepest.sweeps.ledger import Ledger, own_folder
from steepest.sweeps.seeds import with_seeds
from steepest.sweeps.sweep import held_folder
from steepest.sweeps.tuning_report import conclude, show_plan
from steepest.sweeps.tuning_rounds import Rounds
from steepest.sweeps.tuning_space import read_space
from steepest.sweeps.tuning_study import SAMPLERS, Trials, open_storage, trials_there
from steepest.tasks.headline import headline

DATABASE = "study.db"
"""The file of a study's trials, in its folder of `searches` below the run folders."""

ROUNDS = 5
"""So many rounds a search by TPE has at least, where nobody says how many trials are run at a time."""


@dataclass(frozen=True)
class Options:
    """See conf/hydra/sweeper/optuna.yaml."""

    n_trials: int
    at_a_time: int | None
    seeds: int | None
    sampler: str
    sampler_seed: int
    study_name: str | None
    storage: str | None
    dry_run: bool
    retry_failed: bool

    def __post_init__(self) -> None:
        def refuse(key: str, allowed: str) -> None:
            value = getattr(self, key)
            raise ConfigError(f"hydra.sweeper.{key}={shown(value)} is not possible; allowed is {allowed}.")

        if type(self.n_trials) is not int or self.n_trials < 1:
            refuse("n_trials", "an integer of 1 or more")
        if self.at_a_time is not None and (type(self.at_a_time) is not int or self.at_a_time < 1):
            refuse("at_a_time", "an integer of 1 or more, or null")
        if self.sampler not in SAMPLERS:
            refuse("sampler", listed(SAMPLERS, "or"))
        if type(self.sampler_seed) is not int or self.sampler_seed < 0:
            refuse("sampler_seed", "an integer of 0 or more")
        for key in ("dry_run", "retry_failed"):
            if type(getattr(self, key)) is not bool:
                refuse(key, "true or false")
        for key in ("study_name", "storage"):
            if (value := getattr(self, key)) is not None and (not isinstance(value, str) or not value):
                refuse(key, "text, or null")
        if self.study_name and Path(self.study_name).name != self.study_name:
            refuse("study_name", "the name of a folder")


def tune(
    launcher: Launcher, loader: ConfigLoader, config: DictConfig, arguments: Sequence[str], **options: Any
) -> None:
    """Try settings until there are `n_trials` of them, those of earlier commands counted, and tell the best.

    Args:
        launcher: any of Hydra's; what it gives to its jobs it may say by a method `given`.
        loader: Hydra's.
        config: of the sweep, with its `hydra` node.
        arguments: the overrides of the command line.
        options: see `Options`.

    Raises:
        ConfigError: the options, the space or the storage are not possible, or no run can be made of them.
    """
    asked = Options(**options)
    identifier = Identifier(loader, config, getattr(launcher, "given", None))
    words = identifier.parser.parse_overrides(with_seeds(arguments, asked.seeds))
    space = read_space(words, lambda fixed: identifier.identify(fixed).config["choices"]["optimizer"])
    samples = [identifier.identify([*space.middle(name), f"seed={space.seeds[0]}"]) for name in space.optimizers]
    metric, direction = headline(samples[0].config)
    record = {**space.record, "metric": metric, "source": sorted({job.digest for job in samples})}
    name = asked.study_name or named(samples[0], record, asked)
    place = Path(str(config.paths.runs_dir)).absolute() / "searches" / name
    settings: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
    at_once = bill.jobs_at_a_time(settings)
    size = round_of(asked, at_once // len(space.seeds))
    if asked.dry_run:
        todo = show_plan(space, name, trials_there(asked.storage, place / DATABASE, name), asked.n_trials, size)
        if todo:
            items = bill.bill(samples[:1], [], probes=not getattr(launcher, "remote", False))
            bill.show([replace(item, todo=todo) for item in items], at_once)
        return
    with own_folder(place, may_differ=False), held_folder(config) as folder:
        storage, address = open_storage(asked.storage, place / DATABASE)
        trials = Trials(storage, name, space, record, direction, asked.sampler, asked.sampler_seed)
        if asked.retry_failed:
            trials.retry_failed()
        show_plan(space, name, trials.all, asked.n_trials, size)
        rounds = Rounds(trials, identifier, launcher, Ledger(folder), asked.retry_failed)
        rounds.run(asked.n_trials, size)
        conclude(trials, metric, folder, f"{name} in {address}", len(rounds.left))


def round_of(asked: Options, fits: int) -> int:
    """Trials in a round: as many as the launcher has room for, but such that TPE has some rounds to learn from."""
    if asked.at_a_time is not None:
        return asked.at_a_time
    return max(1, min(fits, asked.n_trials // ROUNDS) if asked.sampler == "tpe" else fits)


def named(job: PlannedJob, record: Mapping[str, Any], options: Options) -> str:
    """The name of a study: by what it searches, and how."""
    deciding = {**record, "sampler": options.sampler, "sampler_seed": options.sampler_seed}
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:8]
    choices = job.config["choices"]
    return f"{choices.get('experiment') or choices['dataset']}-{digest}"
