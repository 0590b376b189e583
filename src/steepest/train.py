"""One run from its composed configuration to its run folder."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from steepest.assemble import assemble
from steepest.config import resolved
from steepest.fit import fit
from steepest.launchers.machine import ranks, settle
from steepest.launchers.ranks import run_ranks
from steepest.runs.closing import show
from steepest.runs.folder import Diverged, RunFolder
from steepest.runs.identity import run_id, source_digest, versions
from steepest.runs.log import logging_aside
from steepest.runs.weights import checkpoint_of, weights_digest


def train(cfg: DictConfig) -> float:
    """Train what the configuration says, unless a finished run of it exists; returns the headline (NaN: diverged).

    Raises:
        ConfigError: before any training, for what the user can mend.
    """
    settle(cfg)
    cfg.paths.data_dir = str(Path(cfg.paths.data_dir).absolute())  # so that the run finds its data from any folder
    config = resolved(cfg)
    digest = source_digest(config)
    folder = RunFolder(Path(cfg.paths.runs_dir) / identify(config))
    if folder.status.get("status") == "finished" and not cfg.force:
        stale = folder.status["source_digest"] != digest
        show(folder, f"already finished{' by other source or versions' if stale else ''}; force=true runs it again")
        return folder.summary["headline"]["value"]
    with logging_aside() as log_to:
        parts = assemble(cfg)
        cfg.run = describe(cfg, folder)
        folder.begin(resolved(cfg), run_id=folder.path.name, source_digest=digest, versions=versions())
        log_to(folder.log_file)
        with telling(folder), folder.attempt():
            if ranks(cfg) > 1:
                del parts  # each rank builds its own
                if not run_ranks(folder.path, ranks(cfg)):
                    raise Diverged(folder.status["reason"])
            else:
                fit(parts, cfg, folder)
    show(folder)
    value = folder.summary["headline"]["value"]
    return math.nan if value is None else value


@contextmanager
def telling(folder: RunFolder) -> Iterator[None]:
    """Say what became of a run that is ended from outside."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        show(folder)
        raise


def identify(config: dict[str, Any]) -> str:
    """The run's id; weights to start from count by their content, not by their path."""
    start = config["init_from"]
    if start:
        start = weights_digest(checkpoint_of(start, config["paths"]["runs_dir"]))
    return run_id({**config, "init_from": start})


def describe(cfg: DictConfig, folder: RunFolder) -> dict[str, Any]:
    """Where the run lives and what loggers call it."""
    choices = cfg.choices
    tags = [choices[group] for group in ("task", "dataset", "model", "optimizer", "schedule")]
    return {
        "id": folder.path.name,
        "attempt": folder.next_attempt,
        "folder": str(folder.path),
        "name": cfg.name or "-".join([*tags[1:], f"s{cfg.seed}"]),
        "group": choices.get("experiment"),
        "tags": tags,
    }
