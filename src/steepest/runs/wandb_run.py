"""A run of Weights & Biases, begun and ended within time limits. Nothing here imports torch."""

import html
import netrc
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import wandb

from steepest.runs.files import read_json, write_json
from steepest.runs.wandb_values import columns, within

Mode = Literal["online", "offline", "disabled"]

AXES = ("opt_step", "examples", "grad_evals", "wall_s", "epoch")
"""What a panel can have below its curves; every metric begins with the first."""


class WandbRun:
    """A W&B run that takes rows by their number, so that none comes twice.

    Args:
        mode: online, offline (it lies in `wandb/` below `options["dir"]`) or disabled.
        start_s: seconds that the server has to begin the run.
        finish_s: seconds that it has to take what is still on its way at the end.
        quiet: without what W&B finds out about this machine, its load and its packages.
        options: of `wandb.init`.

    Raises:
        ConnectionError: the run could not begin online; the message says why and holds no key.
    """

    def __init__(self, mode: Mode, start_s: float, finish_s: float, quiet: bool = False, **options: Any) -> None:
        settings = wandb.Settings(
            silent=True,
            console="off",
            init_timeout=start_s,
            finish_timeout=finish_s,
            finish_timeout_raises=True,
            x_disable_stats=quiet,
            x_disable_meta=quiet,
            x_disable_machine_info=quiet,
        )
        # Offline nothing can be resumed, and W&B does not say so.
        resume: Literal["allow"] | None = "allow" if mode == "online" else None
        # W&B's reports of its own errors to its makers would hold up the end of the process by half a minute.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            wandb.setup(wandb.Settings(silent=True))  # it says where it found a key before it reads the settings below
            self.run = wandb.init(**within(options), mode=mode, resume=resume, settings=settings, reinit="create_new")
        except Exception as error:
            if mode != "online":
                raise
            wandb.teardown()  # it holds on to the id of a run that did not begin
            raise ConnectionError(f"{server()} could not begin the run: {without_key(error)}") from error
        self.online = mode == "online"
        self.number = 0
        """Of the next row, which is W&B's step."""
        # No summary="min" or "max" anywhere: that makes a mapping of the metric's name, and W&B's sweeps and a report's
        # panels ask for `val/loss`, not for `val/loss.min`. The best values have names of their own, `best/val/loss`.
        self.run.define_metric("*", step_metric=AXES[0])
        for axis in AXES:
            self.run.define_metric(axis, hidden=True)

    @property
    def place(self) -> Path:
        """The folder of the run on this machine."""
        return Path(self.run.dir).parent

    def log(self, row: Mapping[str, Any]) -> None:
        """Send a row, unless the run had it before it was resumed."""
        if self.number >= self.run.starting_step:
            self.run.log(dict(row), step=self.number)
        self.number += 1

    def log_pictures(self, files: Iterable[Path]) -> None:
        """Add pictures (png, gif) and texts (txt) to the last row, unless the run had that before it was resumed.

        W&B copies the files, and sends them from a process of its own.
        """
        makers = {".png": image, ".gif": animation, ".txt": text}
        found = {f"pictures/{file.stem}": makers[file.suffix](file) for file in files if file.suffix in makers}
        if found and self.number > self.run.starting_step:
            self.run.log(found, step=self.number - 1)

    def finish(self, status: str, summary: Mapping[str, Any]) -> None:
        """Send the summary as W&B's tables show it, and end the run.

        Raises:
            TimeoutError: not all has arrived in time.
        """
        if self.number > self.run.starting_step:
            self.run.log({}, commit=True)  # the last row, which would else come later and win over the summary
        self.run.summary.update(columns(status, summary))
        # A sweep would have another agent begin again what its own early stopping has ended.
        if status == "preempted" and not in_sweep():
            self.run.mark_preempting()
        self.run.finish(exit_code=int(status not in ("finished", "diverged")))


def in_sweep() -> bool:
    """Whether an agent of a W&B sweep has started this process: the run's id, project and entity are the agent's."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def image(file: Path) -> Any:
    """A picture as W&B takes it."""
    return wandb.Image(str(file))


def animation(file: Path) -> Any:
    """An animated picture as W&B takes it."""
    return wandb.Video(str(file), format="gif")


def text(file: Path) -> Any:
    """A text as W&B takes it, so that it looks as it was written."""
    return wandb.Html(f"<pre>{html.escape(file.read_text())}</pre>", inject=False)


def has_key() -> bool:
    """Whether this machine has a login for the W&B server, in the environment or in the user's netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return server() in netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False


def server() -> str:
    """The host name of the W&B server."""
    return urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""


def without_key(error: Exception) -> str:
    """The first line of an error, which may be written down."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    key = os.environ.get("WANDB_API_KEY")
    return text.replace(key, "<key>") if key else text


def record(folder: Path, **news: Any) -> None:
    """Write what became of the mirror on W&B into the run folder, beside what is known already."""
    file = folder / "wandb" / "mirror.json"
    write_json(file, {**read_json(file), **news})
