"""The program of one rank: `python -m steepest.rank RUN_FOLDER`, with the group in the environment."""

import atexit
import os
import signal
import sys
import threading
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from steepest.assemble import assemble
from steepest.fit import fit
from steepest.launchers.ranks import DIVERGED, PREEMPTED
from steepest.runs.folder import Diverged, Preempted, RunFolder
from steepest.runs.log import logging_aside


def main() -> int:
    """Train as one of several processes; returns the exit code."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C reaches all; the starter hands it on
    folder = RunFolder(Path(sys.argv[1]))
    cfg = OmegaConf.load(folder.config_file)
    assert isinstance(cfg, DictConfig)
    with logging_aside() as log_to:
        log_to(folder.log_file)
        try:
            parts = assemble(cfg)
            # After the model is built: the same weights everywhere, dropout masks of each rank's own.
            torch.manual_seed(cfg.seed + 2**32 * int(os.environ["LOCAL_RANK"]))
            fit(parts, cfg, folder)
        except Diverged as result:
            if os.environ["LOCAL_RANK"] == "0":
                folder.end("diverged", str(result))
            return DIVERGED
        except Preempted:
            return PREEMPTED
    return 0


def leave(code: int) -> None:
    """End now, after the exit handlers and without the interpreter's own end.

    That ends threads of torch.distributed in the middle of what they do, and now and then one of them then aborts a
    process whose work is done ("terminate called without an active exception").
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def end_with_parent() -> None:
    """Wait until the process that started this one is gone, and go too."""
    os.read(0, 1)  # unbuffered: a lock on sys.stdin would be in the way of a normal end
    os._exit(1)


if __name__ == "__main__":
    leave(main())
