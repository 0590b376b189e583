"""Weights & Biases as a mirror of the run folder."""

import netrc
import os
from typing import Any
from urllib.parse import urlparse

import wandb
from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment
from pytorch_lightning.utilities import rank_zero_only


class WandbLogger(Logger):
    """Sends the configuration and every row to W&B, or to an offline run inside the run folder.

    Lightning's own logger changes the process' environment, turns a nested configuration into strings, and takes
    over a run that another job left open.

    Args:
        save_dir: folder of the run; the offline run lies in its `wandb/`.
        project: W&B project.
        entity: W&B user or team; None is the login's default.
        mode: auto (WANDB_MODE if set; else online with an API key and offline without one), online or offline.
        run_id: W&B's id of the run.
        name: what W&B shows.
        group: runs that belong together.
        tags: words to filter by.
    """

    def __init__(
        self,
        save_dir: str,
        project: str,
        entity: str | None,
        mode: str,
        run_id: str,
        name: str,
        group: str | None,
        tags: list[str],
    ) -> None:
        super().__init__()
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        self.options: dict[str, Any] = {
            "dir": save_dir,
            "project": project,
            "entity": entity,
            "mode": mode,
            "id": run_id,
            "name": name,
            "group": group,
            "tags": tags,
            "job_type": "train",
        }
        self._run: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, begun when first asked for."""
        if self._run is None:
            settings = wandb.Settings(silent=True, console="off", init_timeout=15)
            self._run = wandb.init(**self.options, settings=settings, reinit="create_new")
            self._run.define_metric("opt_step", hidden=True)
            self._run.define_metric("*", step_metric="opt_step")
        return self._run

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
        """Send the configuration: plain nested containers."""
        self.experiment.config.update(params, allow_val_change=True)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Send a row; it carries its own step axes, `opt_step` among them."""
        self.experiment.log(metrics)

    @rank_zero_only
    def finish(self, summary: dict[str, Any]) -> None:
        """Send the summary and end the W&B run: the next job begins its own."""
        if self._run is not None:
            self._run.summary.update(summary)
            self._run.finish(exit_code=int(summary["status"] == "failed"))
            self._run = None


def has_key() -> bool:
    """Whether this machine has a login for the W&B server, in the environment or in the user's netrc file."""
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return "WANDB_API_KEY" in os.environ or netrc.netrc().authenticators(host) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
