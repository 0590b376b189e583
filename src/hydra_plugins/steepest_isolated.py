"""hydra/launcher=isolated: each job of a sweep in a process of its own, as `python train.py` would run it alone.

Hydra imports this file at each start, also for --help: what is heavy is imported where it is used.
"""

import copy
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

if TYPE_CHECKING:
    from steepest.launchers.processes import Job, Outcome

OF_THE_SWEEP = ("hydra/launcher", "hydra.launcher", "hydra/sweeper", "hydra.sweeper", "hydra.sweep.", "hydra.mode")
"""Beginnings of overrides that a job alone has no use for."""


class IsolatedLauncher(Launcher):
    """Runs the jobs of a sweep side by side, and goes on when one of them fails.

    Args:
        n_jobs: jobs at a time; None: one per GPU, without any one per core.
        timeout_s: seconds after which a job is told to save and end.
        grace_s: seconds that it then has for that.
        verbose: print a line for each job that has ended.
    """

    def __init__(
        self, n_jobs: int | None = None, timeout_s: float | None = None, grace_s: float = 30.0, verbose: bool = True
    ) -> None:
        super().__init__()
        self.n_jobs, self.timeout_s, self.grace_s, self.verbose = n_jobs, timeout_s, grace_s, verbose
        self.config: DictConfig = OmegaConf.create()
        self.hydra_context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra knows; the task function is not used, since each job begins at its own command line.

        Raises:
            ConfigError: a value of `hydra.launcher` is not possible.
        """
        from steepest.errors import ConfigError, shown

        def refuse(key: str, value: object, allowed: str) -> None:
            raise ConfigError(f"hydra.launcher.{key}={shown(value)} is not possible; allowed is {allowed}.")

        if self.n_jobs is not None and (type(self.n_jobs) is not int or self.n_jobs < 1):
            refuse("n_jobs", self.n_jobs, "an integer from 1, or null")
        if self.timeout_s is not None and not _is_positive(self.timeout_s):
            refuse("timeout_s", self.timeout_s, "a number above 0, or null")
        if not _is_positive(self.grace_s):
            refuse("grace_s", self.grace_s, "a number above 0")
        self.config, self.hydra_context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs with these overrides; see Hydra's launchers."""
        from steepest.launchers import lines, processes, server
        from steepest.launchers.processes import Job
        from steepest.runs.identity import targets

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(str(self.config.hydra.sweep.dir)).mkdir(parents=True, exist_ok=True)
        named = set(targets(OmegaConf.to_container(self.config, resolve=False)))
        server.start_server(sorted(name for name in named if name.startswith("steepest.")))
        gpus = processes.gpus()
        at_once = self.n_jobs or len(gpus) or processes.cores()
        begun: list[tuple[DictConfig, Job]] = []

        def jobs() -> Iterator[Job]:
            for number, overrides in enumerate(job_overrides, initial_job_idx):  # one by one: composing takes time
                config = self._composed(overrides, number)
                begun.append((config, self._job(config, processes.cores() // at_once, bool(gpus))))
                yield begun[-1][1]

        listener: processes.Listener = processes.unheard
        if self.verbose:
            count = len(job_overrides)
            names = lines.distinct(initial_job_idx, [filter_overrides(each) for each in job_overrides])
            listener = lines.JobLines(names, [self._log(initial_job_idx + i) for i in range(count)])
            print(f"{count} jobs, {min(at_once, count)} at a time", flush=True)
        outcomes = processes.run_jobs(jobs(), at_once, self.timeout_s, listener, gpus, self.grace_s)
        return [_returned(*job, outcome) for job, outcome in zip(begun, outcomes, strict=True)]

    def _log(self, number: int) -> Path:
        return Path(str(self.config.hydra.sweep.dir), f"job-{number}.log")

    def _composed(self, overrides: Sequence[str], number: int) -> DictConfig:
        """The configuration of a job, as Hydra's launchers compose it."""
        assert self.hydra_context is not None
        config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config

    def _job(self, config: DictConfig, share: int, any_gpu: bool) -> "Job":
        """The job of a configuration.

        One that names no threads gets its share of the cores, as an override, so that its id says it.
        """
        from steepest.hydra_app import quoted
        from steepest.launchers.processes import Job

        accelerator, devices = config.trainer.accelerator, config.trainer.devices
        devices = devices if type(devices) is int and devices > 0 else 1  # what is wrong the job says
        on_cpu = accelerator == "cpu" or (accelerator == "auto" and not any_gpu)
        if config.threads is None:
            config.threads = max(1, share // (devices if on_cpu else 1))
            config.hydra.overrides.task.append(f"threads={config.threads}")
        given = _overrides(config)
        of_hydra = [word for word in given.hydra if not word.lstrip("+~").startswith(OF_THE_SWEEP)]
        sources = config.hydra.runtime.config_sources
        flags = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
        if config.hydra.job.config_name != "config":
            flags.append(f"--config-name={config.hydra.job.config_name}")
        number, place = config.hydra.job.num, _place(config)
        own = [f"hydra.run.dir={quoted(place)}", f"hydra.job.num={number}", f"hydra.job.id={number}"]
        words = [*flags, *of_hydra, *given.task]
        return Job(train_alone, [words, own], log=self._log(number), gpus=0 if on_cpu else devices)


class KeptValue(Callback):
    """Keeps what a run's function returned, which Hydra's main does not hand on."""

    value: Any = None

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Keeps the value."""
        if job_return.status is JobStatus.COMPLETED:
            KeptValue.value = job_return.return_value


def train_alone(words: list[str], own: list[str]) -> Any:
    """Train in this process as `steepest train WORDS` does, and return the headline.

    Args:
        words: the arguments of a command line that does the same alone.
        own: further ones, which only say where in a sweep the run is.

    Raises:
        SystemExit: with the exit code of the command, if that is not 0.
    """
    from steepest.cli import main

    sys.orig_argv = [sys.executable, "-m", "steepest.cli", "train", *words]  # what the run's record says
    if code := main(["train", *words, *own, f"+hydra.callbacks.kept._target_={__name__}.KeptValue"]):
        sys.exit(code)
    return KeptValue.value


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


class _Overrides(NamedTuple):
    hydra: list[str]
    task: list[str]


def _overrides(config: DictConfig) -> _Overrides:
    """The overrides of a job as they were written: reading them one by one would resolve their interpolations."""
    given: Any = OmegaConf.to_container(config.hydra.overrides, resolve=False)
    return _Overrides(given["hydra"], given["task"])


def _place(config: DictConfig) -> str:
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


def _returned(config: DictConfig, job: "Job", outcome: "Outcome") -> JobReturn:
    """What Hydra wants to know of a job."""
    from steepest.errors import ConfigError
    from steepest.launchers.lines import MISTAKE, why
    from steepest.launchers.processes import JobFailed

    of_the_task = copy.deepcopy(config)
    with open_dict(of_the_task):
        del of_the_task["hydra"]
    returned = JobReturn(
        overrides=_overrides(config).task,
        cfg=of_the_task,
        hydra_cfg=OmegaConf.masked_copy(config, "hydra"),
        working_dir=str(Path.cwd()),
        task_name=config.hydra.job.name,
        status=JobStatus.FAILED if outcome.reason else JobStatus.COMPLETED,
    )
    returned.return_value = outcome.value
    if outcome.reason:
        kind = ConfigError if outcome.exit_code == MISTAKE else JobFailed
        where = f"job {config.hydra.job.num}: {' '.join(returned.overrides or [])}; see {job.log}"
        returned.return_value = kind(f"{why(outcome)} ({where})")
    return returned
