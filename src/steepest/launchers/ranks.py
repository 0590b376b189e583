"""One process per device, started and watched by us: Lightning's own launcher would run a whole sweep again."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

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
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(count)}
    command = [sys.executable, "-m", "steepest.rank", str(folder)]
    processes = [
        # A pipe that is never written to: a rank that finds it closed knows that this process is gone.
        subprocess.Popen(command, env={**os.environ, **group, "LOCAL_RANK": str(rank)}, stdin=subprocess.PIPE)  # noqa: S603
        for rank in range(count)
    ]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0, DIVERGED) for process in processes):
                break
            time.sleep(0.05)
        failed = [rank for rank, process in enumerate(processes) if process.poll() not in (None, 0, DIVERGED)]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    if failed:
        raise RuntimeError(f"rank {failed[0]} of {count} failed with exit code {processes[failed[0]].returncode}")
    return all(process.returncode == 0 for process in processes)
