"""One process per device, started and watched by us: Lightning's own launcher would run a whole sweep again."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOREIGN = ("SLURM_", "PL_", "RANK", "GROUP_RANK", "LOCAL_", "TORCHELASTIC_")
"""Beginnings of environment variables by which another launcher tells a process its rank."""

DIVERGED = 3
"""Exit code of the ranks of a run whose loss is no longer finite; they find it together."""


def run_ranks(folder: Path, count: int) -> bool:
    """Run `fit` on `count` processes that join into one group, and wait; if one dies, the others are ended.

    Returns whether they came to an end; otherwise the run diverged.

    Args:
        folder: a run folder whose configuration the ranks read.
        count: processes, one per device of this machine.

    Raises:
        RuntimeError: a rank failed; its traceback is in the run folder's log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(count)}
    command = [sys.executable, "-m", "steepest.rank", str(folder)]
    with (folder / "log.txt").open("ab") as log:
        processes = [
            # The pipe is never written to: a rank that finds it closed knows that this process is gone.
            subprocess.Popen(  # noqa: S603
                command, env={**inherited, **group, "LOCAL_RANK": str(rank)}, stdin=subprocess.PIPE, stderr=log
            )
            for rank in range(count)
        ]
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0, DIVERGED) for process in processes):
                break
            time.sleep(0.05)
        failed = [rank for rank, process in enumerate(processes) if process.poll() not in (None, 0, DIVERGED)]
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    if failed:
        rank, code = failed[0], processes[failed[0]].returncode
        raise RuntimeError(f"rank {rank} of {count} failed with exit code {code}; see {folder / 'log.txt'}")
    return all(process.returncode == 0 for process in processes)
