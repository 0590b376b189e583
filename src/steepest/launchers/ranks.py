"""One process per device, started and watched by us: Lightning's own launcher would run a whole sweep again."""

import os
import signal
import socket
import subprocess
import sys
import time

from steepest.callbacks.interruption import Interruption
from steepest.runs.folder import Diverged, RunFolder

FOREIGN = ("SLURM_", "PL_", "RANK", "GROUP_RANK", "LOCAL_", "TORCHELASTIC_")
"""Beginnings of environment variables by which another launcher tells a process its rank."""

DIVERGED, PREEMPTED = 3, 4
"""Exit codes of the ranks of a run whose loss is no longer finite, or that was asked to end; they find it together."""


def run_ranks(folder: RunFolder, count: int) -> None:
    """Run `fit` on `count` processes that join into one group, and wait; if one dies, the others are ended.

    The first Ctrl-C or SIGTERM is handed on, for the ranks to save and end together; a second Ctrl-C ends them at once.

    Args:
        folder: a run folder whose configuration the ranks read.
        count: processes, one per device of this machine.

    Raises:
        Diverged: the loss is no longer finite.
        Preempted: the run was asked to end, and is saved.
        RuntimeError: a rank failed; its traceback is in the run folder's log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": str(count)}
    command = [sys.executable, "-m", "steepest.rank", str(folder.path)]
    interruption = Interruption()
    told = False
    interruption.listen()
    with folder.log_file.open("ab") as log:
        processes = [
            # The pipe is never written to: a rank that finds it closed knows that this process is gone.
            subprocess.Popen(  # noqa: S603
                command, env={**inherited, **group, "LOCAL_RANK": str(rank)}, stdin=subprocess.PIPE, stderr=log
            )
            for rank in range(count)
        ]
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() not in (None, 0, DIVERGED, PREEMPTED) for process in processes):
                break
            if interruption.signal and not told:
                told = True
                for process in processes:
                    process.send_signal(signal.SIGTERM)
            time.sleep(0.05)
        codes = [process.poll() for process in processes]
    finally:
        interruption.release()
        for process in processes:
            process.kill()  # a rank that waits for a dead one hears nothing else
        for process in processes:
            process.wait()
    if interruption.signal and codes != [0] * count:
        raise interruption.preempted()
    failed = [rank for rank, code in enumerate(codes) if code not in (None, 0, DIVERGED, PREEMPTED)]
    if failed:
        raise RuntimeError(
            f"rank {failed[0]} of {count} failed with exit code {codes[failed[0]]}; see {folder.log_file}"
        )
    if DIVERGED in codes:
        raise Diverged(folder.status["reason"])
