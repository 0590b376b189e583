"""The warm server that processes are forked from: it has imported torch and this package, and done nothing else.

This module imports no torch.
"""

import contextlib
import multiprocessing
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker
from types import ModuleType
from typing import Any

PRELOAD = (
    "hydra",
    "torch",
    "pytorch_lightning",
    "wandb",
    "steepest.hydra_app",
    "steepest.train",
    "steepest.launchers.child",
    "steepest.launchers.warm",
)
"""What the server imports; what else a job imports, each job imports."""

SERVER = multiprocessing.get_context("forkserver")

BLOCKED = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}
"""Signals that the server does not take: terminals and batch schedulers send them to all processes, and without the
server nobody would learn how its jobs end. It goes when nobody needs it."""


def start_server(more: Sequence[str] = ()) -> None:
    """Let the server begin to import `PRELOAD` and `more` modules, if there is none yet; this does not wait for it."""
    SERVER.set_forkserver_preload([*PRELOAD, *more])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
    try:
        resource_tracker.ensure_running()  # first: it unblocks some signals
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
        forkserver._forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def share_server() -> None:
    """Let this process, which the server has forked, get processes from it too: Python would start another server."""
    server: Any = forkserver._forkserver
    ends = select.poll()
    ends.register(server._forkserver_alive_fd, 0)  # the server alone reads from this pipe
    start_another = server.ensure_running

    def ensure_running() -> None:
        if server._forkserver_pid is not None or ends.poll(0):
            start_another()

    server.ensure_running = ensure_running


@contextlib.contextmanager
def without_main(function: Callable[..., Any]) -> Iterator[None]:
    """Keep multiprocessing from running the program's main file again in each process, unless the function is of it.

    That file may be a notebook, standard input, or a script that begins its work when it is imported.
    """
    main = sys.modules["__main__"]
    if function.__module__ != "__main__":
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
