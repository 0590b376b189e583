"""What the jobs of a sweep do on SLURM and what they ask for, few of them composed. This module imports no torch."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.types import HydraContext
from omegaconf import DictConfig, OmegaConf

from steepest.launchers import slurm, sweep_job
from steepest.launchers.processes import Job
from steepest.launchers.slurm_job import SlurmRun

SAME = ("trainer.", "hydra.sweep.dir", "hydra.job.name")
"""Beginnings of what a sweep's settings may refer to and still be known from the sweep and a job's trainer."""


class SlurmPlan:
    """Makes submissions of jobs.

    Args:
        context: Hydra's.
        sweep: its configuration, with `hydra`.
        folder: of the sweep.
        code: what is to be first on PYTHONPATH.
        function: what trains: it takes a command line's words, and those that say where in a sweep the run is.
    """

    def __init__(
        self, context: HydraContext, sweep: DictConfig, folder: Path, code: Path, function: Callable[..., Any]
    ) -> None:
        self.context, self.sweep, self.folder, self.code, self.function = context, sweep, folder, code, function
        hydra: Any = OmegaConf.to_container(sweep.hydra, resolve=False)
        self._raw = hydra["launcher"]
        refers = re.findall(r"\$\{([^}]*)", f"{self._raw} {hydra['sweep']['subdir']}")
        self._all_the_same = all(name.startswith(SAME) for name in refers)
        self._words = sweep_job.words_of(sweep, sweep_job.Overrides(sweep_job.overrides_of(sweep).hydra, []))
        self._place = sweep_job.place_of(sweep) if self._all_the_same else ""
        self._settings: dict[str, dict[str, Any]] = {}

    def submission(
        self, number: int, run_id: str, overrides: Sequence[str], trainer: Mapping[str, Any]
    ) -> slurm.Submission:
        """What is to be submitted for a job.

        Args:
            number: of the job.
            run_id: of its run.
            overrides: of the job, those that the launcher gives included.
            trainer: as they leave it.
        """
        if self._all_the_same and not any(word.lstrip("+~").startswith("hydra") for word in overrides):
            words, own = [*self._words, *overrides], sweep_job.numbered(self._place, number)
            settings = self._settings_of(trainer)
        else:  # takes a tenth of a second
            config = sweep_job.composed(self.context, self.sweep, overrides, number)
            words, own = sweep_job.words_of(config), sweep_job.own_words(config)
            settings = _container(config.hydra.launcher)
        settings = {**settings, "setup": [*(settings["setup"] or []), *slurm.exports(self.code)]}
        job = Job(self.function, [words, own], sweep_job.log_of(self.folder, number), folder=Path.cwd())
        return slurm.Submission(number, run_id, SlurmRun(job), slurm.asks(settings, trainer, self.folder))

    def _settings_of(self, trainer: Mapping[str, Any]) -> dict[str, Any]:
        """`hydra.launcher` of a job with this trainer."""
        key = json.dumps(trainer, sort_keys=True)
        if key not in self._settings:
            hydra = {"sweep": {"dir": self.sweep.hydra.sweep.dir}, "job": {"name": self.sweep.hydra.job.name}}
            config = OmegaConf.create({"trainer": trainer, "hydra": {**hydra, "launcher": self._raw}})
            self._settings[key] = _container(config.hydra.launcher)
        return self._settings[key]


def _container(node: DictConfig) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(node, resolve=True)
    return found
