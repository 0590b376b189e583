"""The warm server that processes are forked from: it has imported torch and this package, and done nothing else.

This module imports no torch.
"""

import contextlib
import multiprocessing
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
)
"""What the server imports; what else a job imports, each job imports."""

SERVER = multiprocessing.get_context("forkserver")


def start_server(more: Sequence[str] = ()) -> None:
    """Let the server begin to import `PRELOAD` and `more` modules, if there is none yet; this does not wait for it."""
    SERVER.set_forkserver_preload([*PRELOAD, *more])
    resource_tracker.ensure_running()  # first: it would unblock the signal
    # Ctrl-C in a terminal reaches the server too, which ignores it only when its imports are done.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
