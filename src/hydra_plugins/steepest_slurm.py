"""hydra/launcher=slurm: each job of a sweep as a job of a SLURM cluster, which preempts, requeues and resumes it.

Hydra imports this file at each start, also for --help: what is heavy is imported where it is used.
"""

import contextlib
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, configure_log, filter_overrides, setup_globals
from hydra.types import HydraContext, TaskFunction
from hydra_plugins.hydra_submitit_launcher import submitit_launcher
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from omegaconf import DictConfig


@dataclass
class SlurmConf(SlurmQueueConf):
    """Keys of `hydra.launcher` beside hydra-submitit-launcher's; conf/hydra/launcher/slurm.yaml explains them."""

    accelerator: str = "cpu"
    gpu_type: str | None = None
    cpus_per_device: int = 1
    verbose: bool = True


ConfigStore.instance().store("steepest_slurm", SlurmConf, "hydra/launcher", provider="steepest")


class SlurmLauncher(submitit_launcher.SlurmLauncher):
    """Submits the jobs of a sweep, in arrays of those that ask for the same, and collects what comes of them.

    The jobs go on without this process, and the same command collects them later.

    Args:
        params: as conf/hydra/launcher/slurm.yaml states them.
    """

    remote = True
    """Jobs run on other machines than this one."""

    def __init__(self, **params: Any) -> None:
        super().__init__(**params)
        self.code: Path | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra knows; the task function is not used, since each job begins at its own command line.

        Raises:
            ConfigError: a value of `hydra.launcher` is not possible.
        """
        from steepest.errors import ConfigError, shown

        def check(key: str, possible: bool, allowed: str) -> None:
            if not possible:
                said = f"hydra.launcher.{key}={shown(self.params[key])} is not possible"
                raise ConfigError(f"{said}; allowed is {allowed}.")

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        check("accelerator", self.params["accelerator"] in ("cpu", "gpu"), "cpu or gpu")
        check("cpus_per_device", self.params["cpus_per_device"] >= 1, "an integer from 1")
        check("tasks_per_node", self.params["tasks_per_node"] == 1, "1: a task starts the ranks of its node")
        check("timeout_min", self.params["timeout_min"] >= 1, "an integer from 1")
        check("array_parallelism", self.params["array_parallelism"] >= 1, "an integer from 1")
        half = 30 * self.params["timeout_min"]
        check("signal_delay_s", 1 <= self.params["signal_delay_s"] <= half, f"1 to {half}, half of timeout_min")

    def given(self, config: Mapping[str, Any]) -> list[str]:
        """Overrides that a job gets from here: the device that `auto` means there, and as many threads as cores.

        Args:
            config: the job's, without `hydra`.
        """
        accelerator, devices = config["trainer"]["accelerator"], config["trainer"]["devices"]
        words = []
        if accelerator == "auto":
            accelerator = self.params["accelerator"]
            words.append(f"trainer.accelerator={accelerator}")
        if config["threads"] is None:
            share = self.params["cpus_per_device"]
            if cores := self.params["cpus_per_task"]:
                share = max(1, cores // devices)
            words.append(f"threads={share if accelerator == 'cpu' else share * devices}")
        return words

    def under_way(self) -> set[str]:
        """The ids of runs whose jobs wait or run already, of whatever sweep: `launch` waits for them.

        Raises:
            ConfigError: SLURM does not answer.
        """
        from steepest.launchers import slurm

        return {*slurm.under_way()} if shutil.which("squeue") else set()

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs with these overrides; see Hydra's launchers.

        Raises:
            ConfigError: there is no SLURM, or it refuses the jobs.
            KeyboardInterrupt: at Ctrl-C; the jobs go on.
        """
        from steepest.errors import ConfigError
        from steepest.launchers import lines, processes, slurm, slurm_wait, sweep_job
        from steepest.launchers.slurm_plan import SlurmPlan
        from steepest.sweeps.identify import Identifier

        assert self.config is not None
        assert self.hydra_context is not None
        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if shutil.which("sbatch") is None or shutil.which("srun") is None:
            raise ConfigError(
                "hydra/launcher=slurm needs SLURM's sbatch and srun on the PATH; "
                "allowed here is hydra/launcher=isolated."
            )
        folder = Path(str(self.config.hydra.sweep.dir)).absolute()
        known = slurm.under_way()
        jobs: dict[int, slurm.Submitted] = {}
        wanted: list[slurm.Submission] = []
        train_alone = resolve_name("hydra_plugins.steepest_isolated:train_alone")
        identifier = Identifier(self.hydra_context.config_loader, self.config, self.given)
        planned = [identifier.identify(overrides) for overrides in job_overrides]
        folder.mkdir(parents=True, exist_ok=True)
        plan = None
        for number, one in enumerate(planned, initial_job_idx):
            if one.run_id in known:
                jobs[number] = replace(known[one.run_id], number=number)
            else:
                plan = plan or SlurmPlan(self.hydra_context, self.config, folder, self._copied(folder), train_alone)
                wanted.append(plan.submission(number, one.run_id, one.overrides, one.config["trainer"]))
        slurm.note(folder, [*jobs.values()])
        place = Path(str(self.config.hydra.launcher.submitit_folder)).absolute()
        for job in slurm.submit(wanted, folder, place, self.params["max_num_timeout"]):
            jobs[job.number] = job
        in_order = {index: jobs[number] for index, number in enumerate(sorted(jobs))}
        with contextlib.ExitStack() as stack:
            listener: processes.Listener = processes.unheard
            if self.params["verbose"]:
                print(slurm.described([*jobs.values()], len(wanted)), flush=True)
                names = lines.distinct(initial_job_idx, [filter_overrides(each) for each in job_overrides])
                logs = [Path(job.log) for job in in_order.values()]
                listener = stack.enter_context(lines.shown(names, logs))
            try:
                outcomes = slurm_wait.Wait(in_order, listener).run()
            except KeyboardInterrupt:
                stack.close()
                print(slurm.farewell([*jobs.values()], folder), file=sys.stderr)
                raise
        return [
            sweep_job.ended(job.number, planned[index].overrides, Path(job.log), outcomes[index])
            for index, job in in_order.items()
        ]

    def _copied(self, folder: Path) -> Path:
        """The copy of the code that is submitted, the same for all jobs of this process."""
        from steepest.launchers.snapshot import snapshot

        if self.code is None or self.code.parent != folder:
            self.code = snapshot(folder)
        return self.code
