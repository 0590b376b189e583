"""hydra/launcher=isolated: each job of a sweep in a process of its own, as `python train.py` would run it alone.

Hydra imports this file at each start, also for --help: what is heavy is imported where it is used.
"""

import contextlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf


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

    def given(self, config: Mapping[str, Any]) -> list[str]:
        """Overrides that a job gets from here: one that names no threads gets its share of the cores.

        Args:
            config: the job's, without `hydra`.
        """
        from steepest.launchers.processes import cores

        if config["threads"] is not None:
            return []
        share = cores() // self._at_once()
        return [f"threads={max(1, share // (_devices(config) if _on_cpu(config) else 1))}"]

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs with these overrides; see Hydra's launchers."""
        from steepest.launchers import lines, processes, server, sweep_job
        from steepest.launchers.processes import Job
        from steepest.runs.identity import targets

        assert self.hydra_context is not None
        context, place = self.hydra_context, Path(str(self.config.hydra.sweep.dir))
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        place.mkdir(parents=True, exist_ok=True)
        named = set(targets(OmegaConf.to_container(self.config, resolve=False)))
        server.start_server(sorted(name for name in named if name.startswith("steepest.")))
        at_once = self._at_once()
        begun: list[tuple[DictConfig, Job]] = []

        def jobs() -> Iterator[Job]:
            for number, overrides in enumerate(job_overrides, initial_job_idx):  # one by one: composing takes time
                config = sweep_job.composed(context, self.config, overrides, number)
                sweep_job.give(config, self.given(config))
                words, own = sweep_job.words_of(config), sweep_job.own_words(config)
                gpus = 0 if _on_cpu(config) else _devices(config)
                begun.append((config, Job(train_alone, [words, own], sweep_job.log_of(place, number), gpus=gpus)))
                yield begun[-1][1]

        with contextlib.ExitStack() as stack:
            listener: processes.Listener = processes.unheard
            if self.verbose:
                count = len(job_overrides)
                names = lines.distinct(initial_job_idx, [filter_overrides(each) for each in job_overrides])
                print(f"{count} jobs, {min(at_once, count)} at a time", flush=True)
                logs = [sweep_job.log_of(place, initial_job_idx + i) for i in range(count)]
                listener = stack.enter_context(lines.shown(names, logs))
            outcomes = processes.run_jobs(jobs(), at_once, self.timeout_s, listener, processes.gpus(), self.grace_s)
        return [
            sweep_job.returned(config, job.log, outcome) for (config, job), outcome in zip(begun, outcomes, strict=True)
        ]

    def _at_once(self) -> int:
        from steepest.launchers import processes

        if self.n_jobs is None and self.config.trainer.accelerator == "tpu":
            return 1  # it takes one process at a time
        return self.n_jobs or len(processes.gpus()) or processes.cores()


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
    # --run: Hydra would compose twice, to learn whether this is a sweep.
    if code := main(["train", "--run", *words, *own, f"+hydra.callbacks.kept._target_={__name__}.KeptValue"]):
        sys.exit(code)
    return KeptValue.value


def _is_positive(value: object) -> bool:
    return type(value) in (int, float) and 0 < value < math.inf  # type: ignore[operator]


def _devices(config: Mapping[str, Any]) -> int:
    devices = config["trainer"]["devices"]
    return devices if type(devices) is int and devices > 0 else 1  # what is wrong the job says


def _on_cpu(config: Mapping[str, Any]) -> bool:
    from steepest.launchers.processes import gpus

    accelerator = config["trainer"]["accelerator"]
    return accelerator == "cpu" or (accelerator == "auto" and not gpus())
