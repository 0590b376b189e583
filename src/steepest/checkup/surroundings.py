"""Checks of what a run works with: the W&B login, folders, data sets, the cluster."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from omegaconf import DictConfig

from steepest.checkup.finding import GB, MEND_FIRST, Finding, brief, imported
from steepest.config import compose, conf_dir

MODES = ("online", "offline", "disabled")
LOW_DISK = 5 * GB


def check_wandb(cfg: DictConfig) -> Iterator[Finding]:
    """Whether there is a login, which is never shown, and the mode that the environment sets."""
    logger, problem = imported("steepest.runs.wandb_logger")
    if logger is None:
        yield Finding(f"not looked at: {problem}", MEND_FIRST)
        return
    login, mode = logger.has_key(), os.environ.get("WANDB_MODE")
    found = ("a login" if login else "no login") + (f", WANDB_MODE={mode}" if mode else "")
    if mode and mode not in MODES:
        yield Finding(found, f"W&B knows no such mode; set WANDB_MODE to one of {', '.join(MODES)}.")
    elif mode in ("offline", "disabled") or login:
        yield Finding(found)
    else:
        yield Finding(found, "wandb login sends runs at once; without it they are kept offline, for steepest sync.")


def check_folders(cfg: DictConfig) -> Iterator[Finding]:
    """Whether the folders can be written, and how much fits."""
    for key in ("runs_dir", "data_dir", "cache_dir"):
        path = Path(cfg.paths[key]).absolute()
        place = next(folder for folder in (path, *path.parents) if folder.exists())
        found = f"paths.{key}={cfg.paths[key]}"
        try:
            with tempfile.TemporaryFile(dir=place):
                free = shutil.disk_usage(place).free
        except OSError as error:
            remedy = f"{place} cannot be written ({error.strerror}); set paths.{key} to a folder that can."
            yield Finding(found, remedy, broken=key == "runs_dir")  # data may be there to be read alone
            continue
        low = "Free some space; steepest gc frees that of old checkpoints." if free < LOW_DISK else ""
        yield Finding(f"{found}, {free / GB:,.1f} GB free", low)


def check_data(cfg: DictConfig) -> Iterator[Finding]:
    """Which data sets are here."""
    build, problem = imported("steepest.build")
    here: list[str] = []
    missing: list[str] = []
    for name in sorted(file.stem for file in (conf_dir() / "dataset").glob("*.yaml")):
        own = compose([f"dataset={name}"])
        own.paths = cfg.paths
        try:
            location = build.build(own.dataset).location
        except Exception as error:  # what is amiss has a line of its own
            problem = problem or brief(error)
            continue
        (here if location is None or location.exists() else missing).append(name)
    if problem:
        yield Finding(f"not looked at: {problem}", MEND_FIRST)
        return
    remedy = f"For those you want: steepest prepare {' '.join(missing)}" if missing else ""
    yield Finding(", ".join(here), remedy)


def check_slurm(cfg: DictConfig) -> Iterator[Finding]:
    """Whether jobs can be given to a cluster."""
    sbatch = shutil.which("sbatch")
    yield Finding(sbatch) if sbatch else Finding("none", "Only needed to run jobs on a cluster.")
