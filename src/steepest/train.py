"""One run from its composed configuration to its run folder."""

import hashlib
import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from steepest.config import resolved
from steepest.fit import assemble, fit
from steepest.launchers.machine import ranks, settle
from steepest.launchers.ranks import run_ranks
from steepest.runs.closing import show
from steepest.runs.folder import RunFolder
from steepest.runs.identity import run_id, source_digest, versions
from steepest.runs.log import log_to
from steepest.runs.weights import checkpoint_of


def train(composed: DictConfig) -> float:
    """Train what the configuration says, unless a finished run of it exists; returns the headline (NaN: diverged).

    Raises:
        ConfigError: before any training, for what the user can mend.
    """
    config = resolved(composed)
    settle(config)
    digest = source_digest(config)
    folder = RunFolder(Path(config["paths"]["runs_dir"]) / identify(config))
    if folder.status.get("status") == "finished" and not config["force"]:
        stale = folder.status["source_digest"] != digest
        show(folder, f"already finished{' by other source or versions' if stale else ''}; force=true runs it again")
        return folder.summary["headline"]["value"]
    folder.set_aside()
    config["run"] = describe(config, folder)
    cfg = OmegaConf.create(config)
    with log_to(folder.log_file):
        parts = assemble(cfg)
        folder.begin(config, run_id=folder.path.name, source_digest=digest, versions=versions())
        with folder.attempt():
            if ranks(config) > 1:
                del parts  # each rank builds its own
                run_ranks(folder.path, ranks(config))
            else:
                fit(parts, cfg, folder)
    show(folder)
    return folder.summary.get("headline", {}).get("value", math.nan)


def identify(config: dict[str, Any]) -> str:
    """The run's id; weights to start from count by their content, not by their path."""
    start = config["init_from"]
    if start:
        file = checkpoint_of(start, config["paths"]["runs_dir"])
        start = hashlib.sha256(file.read_bytes()).hexdigest()
    return run_id({**config, "init_from": start})


def describe(config: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Where the run lives and what loggers call it."""
    choices = config["choices"]
    tags = [choices[group] for group in ("task", "dataset", "model", "optimizer", "schedule")]
    return {
        "id": folder.path.name,
        "attempt": folder.next_attempt,
        "folder": str(folder.path),
        "name": config["name"] or "-".join([*tags[1:], f"s{config['seed']}"]),
        "group": choices.get("experiment"),
        "tags": tags,
    }
