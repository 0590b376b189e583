"""Weights & Biases as a mirror of the run folder while the run goes on."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import wandb
from pytorch_lightning.loggers.logger import DummyExperiment, Logger, rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only

from steepest.errors import ConfigError
from steepest.runs.files import read_json
from steepest.runs.wandb_run import Mode, WandbRun, has_key, in_sweep, record, without_key
from steepest.runs.wandb_values import entries, job_type, origin

START_S, FINISH_S = 6.0, 10.0
"""What a server may cost: with wandb's own work before and after that stays below 15 s each."""

log = logging.getLogger("steepest")


class WandbLogger(Logger):
    """Sends the configuration and every row to W&B, or to an offline run inside the run folder.

    Lightning's own logger changes the process' environment, turns a nested configuration into strings, and takes
    over a run that another job left open. Whatever W&B does, the run goes on: the run folder has all of it, and
    `steepest sync` uploads what did not arrive. What became of it is said in `wandb/mirror.json`.

    Args:
        save_dir: folder of the run; W&B's files lie in its `wandb/`.
        project: W&B project.
        entity: W&B user or team; None is the login's default.
        mode: auto (WANDB_MODE if set; else online with an API key and offline without one), online or offline.
        run_id: W&B's id of the run. An online run of this id goes on, and rows that it has are not sent again. In a
            sweep of W&B's the id, the project and the entity are those that its agent has set.
        name: what W&B shows.
        group: runs that belong together, such as study/row/contender.
        tags: words to filter by.

    Raises:
        ConfigError: WANDB_MODE is none of W&B's modes.
    """

    def __init__(
        self,
        save_dir: str,
        project: str,
        entity: str | None,
        mode: Literal["auto", "online", "offline"],
        run_id: str,
        name: str,
        group: str | None,
        tags: list[str],
    ) -> None:
        super().__init__()
        self.folder, self.mode = Path(save_dir), chosen_mode(mode)
        self.options: dict[str, Any] = {
            "dir": save_dir,
            "project": project,
            "entity": entity,
            "id": run_id,
            "name": name,
            "group": group,
            "tags": tags,
        }
        if in_sweep():
            self.options |= {"id": None, "project": None, "entity": None}
        self._run: WandbRun | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, or something that takes every call when W&B has broken."""
        return self._run.run if self._run else DummyExperiment()

    @property
    def name(self) -> str:
        """The readable name."""
        return str(self.options["name"])

    @property
    def version(self) -> str:
        """W&B's id of the run."""
        return str(self.options["id"])

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Begin the W&B run, with its configuration: plain nested containers."""
        with self._spared():
            if self._run is None:
                self._run = self._begin(job_type(params))
            self._run.run.config.update({**params, **entries(params)}, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send a row; it carries its own step axes, `opt_step` among them."""
        with self._spared():
            if self._run:
                self._run.log(metrics)

    @rank_zero_only
    def log_pictures(self, files: Sequence[Path]) -> None:
        """Send pictures and texts with the last row."""
        with self._spared():
            if self._run:
                self._run.log_pictures(files)

    @rank_zero_only
    def finish(self, summary: dict[str, Any]) -> None:
        """Send the summary and end the W&B run: the next job begins its own."""
        run, status = self._run, summary["status"]
        with self._spared():
            if run:
                run.finish(status, {**summary, **origin(read_json(self.folder / "status.json"))})
                if run.online:
                    record(self.folder, arrived={"rows": run.number, "status": status})
        self._run = None

    def _begin(self, job: str) -> WandbRun:
        self.options["job_type"] = job
        why = "there is no API key" if self.mode == "online" and not has_key() else None
        if self.mode == "online" and not why:
            try:
                run = WandbRun("online", START_S, FINISH_S, **self.options)
                self._note(run, mode="online", url=run.run.url, place=None, why=None)
                return run
            except ConnectionError as error:
                why = str(error)
        if why:
            log.warning("W&B goes on offline: %s", why)
        run = WandbRun("disabled" if self.mode == "disabled" else "offline", START_S, FINISH_S, **self.options)
        if self.mode != "disabled":
            place = os.path.relpath(run.place, self.folder)
            self._note(run, mode="offline", url=None, place=place, why=why)
        return run

    def _note(self, run: WandbRun, **news: Any) -> None:
        """Write down where the mirror is. Only an agent's run is not where the configuration says."""
        self.options["id"] = run.run.id
        where = {key: getattr(run.run, key) if in_sweep() else None for key in ("project", "entity")}
        record(self.folder, id=run.run.id, **where, **news, arrived=None)

    @contextmanager
    def _spared(self) -> Iterator[None]:
        """Keep what breaks in W&B from the run; nothing more is sent then."""
        try:
            yield
        except Exception as error:
            self._run = None
            log.exception("W&B has stopped")
            record(self.folder, why=without_key(error))
            with suppress(Exception):
                wandb.teardown()


def chosen_mode(mode: Literal["auto", "online", "offline"]) -> Mode:
    """The mode that `auto` stands for on this machine: WANDB_MODE, or else by whether there is a key.

    Raises:
        ConfigError: WANDB_MODE is none of W&B's modes.
    """
    if mode != "auto":
        return mode
    asked = os.environ.get("WANDB_MODE")
    if not asked:
        return "online" if has_key() else "offline"
    modes: dict[str, Mode] = {"run": "online", "shared": "online", "dryrun": "offline"}
    modes |= {"online": "online", "offline": "offline", "disabled": "disabled"}
    if asked not in modes:
        raise ConfigError(f"WANDB_MODE={asked} is unknown; allowed are online, offline and disabled.")
    return modes[asked]
