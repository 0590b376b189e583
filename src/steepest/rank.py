"""One rank of a run: a process that trains on one device, beside others on the same batch."""

import os
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from steepest.assemble import assemble
from steepest.fit import fit
from steepest.launchers.ranks import End
from steepest.runs.folder import Diverged, Preempted, RunFolder
from steepest.runs.log import logging_aside


def train_rank(path: str, log: str) -> End:
    """Train as the environment's RANK; how a run is told to end, and by whom, see launchers/ranks.py.

    Args:
        path: a run folder, with the configuration.
        log: the file for what libraries say.
    """
    folder = RunFolder(Path(path))
    cfg = OmegaConf.load(folder.config_file)
    assert isinstance(cfg, DictConfig)
    with logging_aside() as log_to:
        log_to(Path(log))
        try:
            parts = assemble(cfg)
            # After the model is built: the same weights everywhere, dropout masks of each rank's own.
            torch.manual_seed(cfg.seed + 2**32 * int(os.environ["RANK"]))
            fit(parts, cfg, folder)
        except Diverged as result:
            return End("diverged", str(result))
        except Preempted as stop:
            return End("preempted", str(stop))
    return End("finished")
