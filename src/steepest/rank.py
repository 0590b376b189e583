"""The program of one rank: `python -m steepest.rank RUN_FOLDER`, with the group in the environment."""

import os
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from steepest.fit import assemble, fit
from steepest.launchers.ranks import DIVERGED
from steepest.runs.folder import Diverged, RunFolder
from steepest.runs.log import logging_aside


def main() -> None:
    """Train as one of several processes."""
    folder = RunFolder(Path(sys.argv[1]))
    cfg = OmegaConf.load(folder.config_file)
    assert isinstance(cfg, DictConfig)
    with logging_aside() as log_to:
        log_to(folder.log_file)
        try:
            fit(assemble(cfg), cfg, folder)
        except Diverged as result:
            if os.environ["LOCAL_RANK"] == "0":
                folder.end("diverged", str(result))
            sys.exit(DIVERGED)


if __name__ == "__main__":
    main()
