"""What a job's process does before, around and after the job; see processes.py, which starts it."""

import atexit
import contextlib
import faulthandler
import importlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from steepest.launchers.server import BLOCKED, share_server

OF_SCHEDULERS = ("SLURM_", "PMI_", "PMIX_", "OMPI_", "TORCHELASTIC_", "PL_")
GROUP = (*OF_SCHEDULERS, "MASTER_", "WORLD_SIZE", "RANK", "LOCAL_", "GROUP_RANK", "NODE_RANK", "ROLE_")
"""Beginnings of environment variables that make a process part of a group."""


@dataclass(frozen=True)
class Message:
    """What a job tells the process that started it.

    Args:
        value: what its function returned.
        error: the exception that ended it, as one line.
        traceback: of that exception.
        cannot_start: why no job can begin here.
        memory_mb: its largest resident memory, in MB.
        at: when, in seconds of a clock that the processes of a machine share.
    """

    value: Any = None
    error: str | None = None
    traceback: str | None = None
    cannot_start: str | None = None
    memory_mb: float | None = None
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Setting:
    """What a job's process is given beside the job.

    Args:
        log: the file that takes what it prints, as an absolute path.
        output: where its standard output goes instead.
        folder: it works there; an absolute path.
        environment: of the process that started it.
        own: variables of its own.
        threads: torch's.
        preload: what the server should have imported.
        orphan_s: seconds from that process' death to the job's end.
    """

    log: Path
    output: Connection | None
    folder: Path
    environment: Mapping[str, str]
    own: Mapping[str, str]
    threads: int | None
    preload: Sequence[str]
    orphan_s: float


def run(connection: Connection, function: Callable[..., Any], arguments: Sequence[Any], setting: Setting) -> None:
    """Call the function in this process, which nothing of earlier jobs has touched, and tell what came of it."""
    os.setsid()  # a group of its own, loader workers and ranks included: it can be ended whole
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the server ignores it
    for number in (signal.SIGUSR1, signal.SIGUSR2):  # batch schedulers warn all processes; who started this one acts
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    share_server()
    write_to(setting.log, setting.output)
    faulthandler.enable()
    threading.Thread(target=end_with_parent, args=[setting.orphan_s], daemon=True).start()
    atexit._clear()  # what the server's modules registered is the server's; the job's own runs below
    try:
        for name in setting.preload:  # nothing to do, unless the server failed at it, which it does in silence
            importlib.import_module(name)
    except BaseException as error:
        traceback.print_exc()
        connection.send(Message(cannot_start=f"{type(error).__name__}: {error}"))
        sys.exit(1)
    prepare(setting)
    try:
        connection.send(Message(value=function(*arguments), memory_mb=memory_mb()))
    except SystemExit:
        connection.send(Message(memory_mb=memory_mb()))
        raise
    except BaseException as error:
        traceback.print_exc()
        said = " ".join(f"{type(error).__name__}: {error}".split())
        connection.send(Message(error=said, traceback=traceback.format_exc(), memory_mb=memory_mb()))
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()  # a process of multiprocessing leaves them out


def write_to(log: Path, output: Connection | None) -> None:
    """Send all that this process and its children print to the end of a file, or what is no error to `output`."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream, place in ((sys.stdout, output.fileno() if output else file), (sys.stderr, file)):
        os.dup2(place, stream.fileno())
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.close(file)


def prepare(setting: Setting) -> None:
    """Give this process the folder, the environment and the threads of its job."""
    os.chdir(setting.folder)
    os.environ.clear()
    os.environ.update((k, v) for k, v in setting.environment.items() if not k.startswith(GROUP))
    os.environ.update(setting.own)
    import numpy as np
    import torch

    np.random.seed()  # noqa: NPY002 - else all jobs would go on from the server's state, where new processes differ
    if setting.threads:
        torch.set_num_threads(setting.threads)


def memory_mb() -> float:
    """The largest resident memory of this process up to now, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def end_with_parent(orphan_s: float) -> None:
    """When the process that started this one is gone, end as at SIGTERM, and after `orphan_s` seconds in any case."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(orphan_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(0, signal.SIGKILL)


def count_gpus() -> int:
    """How many GPUs torch sees: asked in a process of its own, since the answer and CUDA's state stay in it."""
    import torch

    return torch.cuda.device_count()
