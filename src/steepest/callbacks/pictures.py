"""Draws what a run found, when it has been tested."""

import logging
from collections.abc import Callable, Container, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from steepest.pictures import layer_map, training_curves
from steepest.pictures.files import file_name, save
from steepest.runs.files import write_atomically
from steepest.runs.folder import Diverged, RunFolder

log = logging.getLogger("steepest")


class Pictures(pl.Callback):
    """Curves, layers and what the task's own `pictures()` gives, in `<run folder>/pictures/` and with the loggers.

    A run that diverges has its curves and layers. A picture that cannot be drawn is a line in the log.
    """

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Draws; the rows are complete."""
        if trainer.is_global_zero:
            draw(trainer, pl_module, own=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Draws how a run went that has diverged; there is no test of it."""
        if trainer.is_global_zero and isinstance(exception, Diverged):
            draw(trainer, pl_module, own=False)


def draw(trainer: pl.Trainer, task: Any, own: bool) -> None:
    """Draw all pictures and give them to the loggers; `own`: those of the task, too."""
    folder = RunFolder(Path(trainer.default_root_dir).parent)
    rows = folder.rows()
    found = {
        "curves": attempt("drawing curves", training_curves, rows, task.headline),
        "layers": attempt("drawing layers", layer_map, rows),
    }
    if own and hasattr(task, "pictures"):
        found |= attempt(f"{type(task).__name__}.pictures()", task.pictures) or {}
    files: dict[str, Path | None] = {}  # by their names, of which no two are alike
    for name, picture in found.items():
        if picture is not None:
            unique = other_than(files, file_name(name))
            what, place = f"writing the picture {name}", folder.path / "pictures"
            files[unique] = attempt(what, save, place, unique, picture, write_atomically)
    whole = [file for file in files.values() if file]
    for logger in trainer.loggers:
        attempt(f"giving pictures to {type(logger).__name__}", give, logger, whole, task.counters.opt_step)


def other_than(taken: Container[str], name: str) -> str:
    """The name, or where it is taken the first of name-2, name-3, ... that is not."""
    return name if name not in taken else next(n for k in count(2) if (n := f"{name}-{k}") not in taken)


def attempt(what: str, do: Callable[..., Any], *given: Any) -> Any:
    """What `do` gives; None and a line in the log if it fails."""
    try:
        return do(*given)
    except Exception:
        log.warning("%s failed", what, exc_info=True)
        return None


def give(logger: Any, files: Sequence[Path], step: int) -> None:
    """Give the pictures to a logger that takes some."""
    if hasattr(logger, "log_pictures"):
        logger.log_pictures(files)
    elif isinstance(logger, TensorBoardLogger):
        for file in files:
            if file.suffix == ".txt":
                logger.experiment.add_text(file.stem, f"```\n{file.read_text()}\n```", step)
            elif file.suffix == ".png":  # of animations TensorBoard makes nothing without another library
                pixels = np.asarray(Image.open(file).convert("RGB"))
                logger.experiment.add_image(file.stem, pixels, step, dataformats="HWC")
