"""A job of a sweep, as every launcher of ours knows it: its configuration, the command line that does the same alone,
its place in the sweep, and what Hydra is told of its end. This module imports no torch.
"""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from steepest.config import quoted
from steepest.errors import ConfigError
from steepest.launchers.lines import MISTAKE, why
from steepest.launchers.processes import JobFailed, Outcome

OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep.", "hydra.mode")
"""Beginnings of overrides that a job alone has no use for."""


class Overrides(NamedTuple):
    """The overrides of a job as they were written: reading them one by one would resolve their interpolations."""

    hydra: list[str]
    task: list[str]


def overrides_of(config: DictConfig) -> Overrides:
    """The overrides that a job was composed with."""
    given: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    return Overrides(given["hydra"], given["task"])


def composed(context: HydraContext, sweep: DictConfig, overrides: Sequence[str], number: int) -> DictConfig:
    """The configuration of a job, `hydra` included, as Hydra's launchers compose it."""
    config = context.config_loader.load_sweep_config(sweep, list(overrides))
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    return config


def of_the_task(config: DictConfig) -> DictConfig:
    """The configuration of a job without its `hydra`."""
    alone = copy.deepcopy(config)
    with open_dict(alone):
        del alone["hydra"]
    return alone


def give(config: DictConfig, words: Sequence[str]) -> None:
    """Add what a launcher gives to a job, as overrides, so that the run's id says it; in place."""
    config.merge_with_dotlist([*words])
    config.hydra.overrides.task.extend(words)


def words_of(config: DictConfig, given: Overrides | None = None) -> list[str]:
    """The arguments of a `steepest train` command that does alone what a job does in its sweep.

    Args:
        config: of the job, or of its sweep.
        given: the job's overrides; None: those of `config`.
    """
    given = given or overrides_of(config)
    of_hydra = [word for word in given.hydra if not word.lstrip("+~").startswith(OF_THE_SWEEP)]
    sources = config.hydra.runtime.config_sources
    flags = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
    if config.hydra.job.config_name != "config":
        flags.append(f"--config-name={config.hydra.job.config_name}")
    return [*flags, *of_hydra, *given.task]


def own_words(config: DictConfig) -> list[str]:
    """Further arguments, which only say where in its sweep the job is."""
    return numbered(place_of(config), config.hydra.job.num)


def numbered(place: str, number: int) -> list[str]:
    """These arguments for a folder and a number."""
    return [f"hydra.run.dir={quoted(place)}", f"hydra.job.num={number}", f"hydra.job.id={number}"]


def log_of(sweep_dir: str | Path, number: int) -> Path:
    """The file of what a job prints."""
    return Path(sweep_dir, f"job-{number}.log")


def returned(config: DictConfig, log: Path, outcome: Outcome) -> JobReturn:
    """What Hydra wants to know of a job that has ended."""
    answer = ended(config.hydra.job.num, overrides_of(config).task, log, outcome)
    answer.cfg, answer.hydra_cfg = of_the_task(config), OmegaConf.masked_copy(config, "hydra")
    answer.task_name = config.hydra.job.name
    return answer


def ended(number: int, overrides: Sequence[str], log: Path, outcome: Outcome) -> JobReturn:
    """What Hydra needs to know of a job that has ended."""
    answer = JobReturn(
        overrides=overrides,
        working_dir=str(Path.cwd()),
        status=JobStatus.FAILED if outcome.reason else JobStatus.COMPLETED,
    )
    answer.return_value = outcome.value
    if outcome.reason:
        kind = ConfigError if outcome.exit_code == MISTAKE else JobFailed
        answer.return_value = kind(f"{why(outcome)} (job {number}: {' '.join(overrides)}; see {log})")
    return answer


def place_of(config: DictConfig) -> str:
    """The folder of a job in its sweep; it may refer to the job's number and overrides."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        place = str(Path(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir)))
        with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
            config.hydra.runtime.output_dir = str(Path(place).absolute())
        return place
    finally:
        HydraConfig.instance().cfg = before
