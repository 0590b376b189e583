"""Jobs in processes of their own, some at a time: a crash, a kill or a hang of one is its own affair.

The processes are forked from a warm server (multiprocessing's forkserver) that has imported torch and this package and
done nothing else, so that a job begins in milliseconds and in the same state each time. This module imports no torch.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import takewhile
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

from steepest.launchers import child
from steepest.launchers.child import Message, Setting
from steepest.launchers.server import PRELOAD, SERVER, start_server, without_main

GRACE_S = 30.0
"""Seconds from being told to end to being ended."""

POLL_S = 0.1

LAST_S = 5.0
"""Seconds for jobs that belong together to find by themselves that one of them has failed, and to say so."""

TOLD = "Running jobs save and end, no more begin; Ctrl-C again stops at once, without saving."


class JobFailed(RuntimeError):
    """A job that did not come to its end; for those who start jobs and wish to raise it."""


class CannotStart(JobFailed):
    """No job can begin: the server, or what it imports, is broken."""


@dataclass(frozen=True)
class Job:
    """A call in a process of its own.

    Args:
        function: a function of a module, found there by its name.
        arguments: its positional arguments.
        log: the file to whose end all is written that the job prints.
        folder: the folder it works in; None: that of this process.
        threads: torch's threads; None: as torch has it.
        gpus: how many of the machine's GPUs it sees, if there are so many.
        environment: variables of its own; others it has from this process, but for those of a group of processes.
        shown: what it prints goes where this process prints, and only its errors to the log.
        orphan_s: seconds that it has left when this process dies; None: the `grace_s` of them all.
    """

    function: Callable[..., Any]
    arguments: Sequence[Any] = ()
    log: Path = Path(os.devnull)
    folder: Path | None = None
    threads: int | None = None
    gpus: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    shown: bool = False
    orphan_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Args:
        exit_code: of the process; minus the signal's number, where a signal ended it.
        value: what the function returned; None where it did not.
        seconds: from the start to the end of the process.
        memory_mb: the largest resident memory in MB; None where the process was ended.
        reason: why it failed, as one line; None where it did not.
        traceback: of the exception that ended it, if one did.
    """

    exit_code: int
    value: Any
    seconds: float
    memory_mb: float | None
    reason: str | None
    traceback: str | None = None


Listener = Callable[[int, Outcome | None], object]
"""Is told the index of a job: with None when it begins, with the outcome when it has ended."""


def unheard(index: int, outcome: Outcome | None) -> None:
    """Nobody listens."""


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(index) for index in range(_count_gpus())]
    return [*takewhile(lambda name: name and not name.startswith("-"), (name.strip() for name in given.split(",")))]


@cache
def _count_gpus() -> int:
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return 0
    [outcome] = run_jobs([Job(child.count_gpus)], devices=())
    return outcome.value or 0


def run_jobs(
    jobs: Iterable[Job],
    n_jobs: int | None = None,
    timeout_s: float | None = None,
    on_event: Listener = unheard,
    devices: Sequence[str] | None = None,
    grace_s: float = GRACE_S,
    together: bool = False,
    told: str = TOLD,
) -> list[Outcome]:
    """Run the jobs and return their outcomes, in the order of the jobs.

    The first Ctrl-C or SIGTERM starts no more jobs and tells those that run to end (SIGTERM), a second Ctrl-C ends them
    at once; if this process dies, they end as if they were told.

    Args:
        jobs: what is to be run; each is taken when the one before it has begun.
        n_jobs: how many at a time; None: one per GPU, without any one per core.
        timeout_s: seconds after which a job is told to end.
        on_event: hears of each job that begins and ends.
        devices: GPUs to deal out, each to as few jobs as possible; None: those of `gpus()`.
        grace_s: seconds after which a job that was told to end for its time is ended.
        together: the jobs are one: when one of them fails the others are ended, within `LAST_S` seconds.
        told: what is said at the first Ctrl-C.

    Raises:
        KeyboardInterrupt: at Ctrl-C, when all jobs have ended.
        SystemExit: the same at SIGTERM, with the code 143.
        CannotStart: the processes cannot do any job.
    """
    devices = gpus() if devices is None else devices
    with _Runner(list(devices), timeout_s, grace_s, on_event, together, told) as runner:
        return runner.run(jobs, n_jobs or len(devices) or cores())


@dataclass
class _Running:
    """A job whose process lives."""

    index: int
    process: BaseProcess
    connection: Connection
    devices: list[str]
    log: Path
    started: float = field(default_factory=time.monotonic)
    kill_at: float = float("inf")
    told: str | None = None
    message: Message | None = None

    def tell(self, why: str) -> None:
        """Ask the process to end."""
        self.told = self.told or why
        _send(os.kill, self.process, signal.SIGTERM)

    def kill(self) -> None:
        """End the process and all that it has started."""
        _send(os.killpg, self.process, signal.SIGKILL)
        _send(os.kill, self.process, signal.SIGKILL)  # in case it has no group yet

    def receive(self) -> None:
        """Take the job's message, if there is one."""
        with contextlib.suppress(EOFError, OSError):
            if self.message is None and self.connection.poll():
                self.message = self.connection.recv()

    def outcome(self) -> Outcome:
        """What came of the job, now that its process has ended."""
        self.receive()
        self.kill()  # what it started may have outlived it
        self.process.join()
        message, code = self.message or Message(), self.process.exitcode
        assert code is not None
        seconds = time.monotonic() - self.started
        self.connection.close()
        if message.cannot_start:
            raise CannotStart(f"jobs cannot start: {message.cannot_start}")
        reason = None
        if self.message is None or message.error or code:
            reason = self.told or message.error or _ending(code, self.log)
        return Outcome(code, message.value, seconds, message.memory_mb, reason, message.traceback)


def _send(send: Callable[[int, int], None], process: BaseProcess, number: int) -> None:
    assert process.pid is not None
    with contextlib.suppress(ProcessLookupError):
        send(process.pid, number)


def _ending(code: int, log: Path) -> str:
    """What an exit code says, with the last line that the job printed."""
    if code == -signal.SIGKILL:
        return "ended by SIGKILL, as the system does when memory runs out"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    last = _last_line(log)
    return f"exit code {code}{' without a result' * (not code)}{last and f': {last}'}"


def _last_line(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(-min(log.stat().st_size, 4096), os.SEEK_END)
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _process(job: Job, setting: Setting) -> tuple[BaseProcess, Connection]:
    """A process that runs a job, and where its message will come."""
    for last in (False, True):  # a server that has just died may look alive, once
        receiver, sender = SERVER.Pipe(duplex=False)
        process = SERVER.Process(target=child.run, args=(sender, job.function, job.arguments, setting))
        start_server()
        try:
            with without_main(job.function):
                process.start()
        except (OSError, EOFError) as error:
            if last:
                raise CannotStart(f"the server of processes ends ({type(error).__name__}: {error})") from None
            time.sleep(POLL_S)
        else:
            break
        finally:
            sender.close()
    return process, receiver


class _Runner:
    """The jobs that run, and the signals that are meant for them while they do."""

    def __init__(
        self,
        devices: list[str],
        timeout_s: float | None,
        grace_s: float,
        on_event: Listener,
        together: bool,
        told: str,
    ) -> None:
        self.devices, self.timeout_s, self.grace_s, self.on_event = devices, timeout_s, grace_s, on_event
        self.together, self.told = together, told
        self.running: list[_Running] = []
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Runner":
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # in another thread than the main one there are no signals
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self.handle)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.running:  # none, unless something went wrong
            one.kill()
            one.process.join(timeout=5.0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; end at once at a second Ctrl-C, and while there is nothing to wait for."""
        first, self.signal = self.signal is None, self.signal or signal.Signals(number)
        if not self.running or (number == signal.SIGINT and not first):
            raise self.stopped()
        if number == signal.SIGINT:
            os.write(2, f"\n{self.told}\n".encode())

    def stopped(self) -> BaseException:
        """The exception for the signal."""
        return SystemExit(128 + signal.SIGTERM) if self.signal == signal.SIGTERM else KeyboardInterrupt()

    def run(self, jobs: Iterable[Job], n_jobs: int) -> list[Outcome]:
        """See `run_jobs`."""
        coming = enumerate(jobs)
        outcomes: dict[int, Outcome] = {}
        ready = next(coming, None)
        while self.running or (ready and not self.signal):
            while ready and len(self.running) < n_jobs and not self.signal:
                self.start(*ready)
                ready = next(coming, None)  # now, for it may take its time
            wait([handle for one in self.running for handle in (one.process.sentinel, one.connection)], POLL_S)
            for one in self.running:
                self.attend(one)
            for one in self.ended():
                outcomes[one.index] = one.outcome()
                self.running.remove(one)
                self.on_event(one.index, outcomes[one.index])
                if self.together and outcomes[one.index].reason:
                    for other in self.running:
                        other.kill_at = min(other.kill_at, time.monotonic() + LAST_S)
        if self.signal:
            raise self.stopped()
        return [outcomes[index] for index in sorted(outcomes)]

    def ended(self) -> list[_Running]:
        """Those whose process has ended, in the order in which they did: who says why comes after who could not."""
        found = [one for one in self.running if one.process.exitcode is not None]
        for one in found:
            one.receive()
        return sorted(found, key=lambda one: one.message.at if one.message else 0.0)

    def start(self, index: int, job: Job) -> None:
        """Let a process begin."""
        load = {device: sum(device in one.devices for one in self.running) for device in self.devices}
        devices = sorted(self.devices, key=lambda device: load[device])[: job.gpus]
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if self.devices else {}
        folder = (job.folder or Path.cwd()).absolute()
        log = job.log.absolute()
        log.parent.mkdir(parents=True, exist_ok=True)
        orphan_s = self.grace_s if job.orphan_s is None else job.orphan_s
        output = Connection(os.dup(1), readable=False) if job.shown else None
        environment = {**os.environ, **seen}
        setting = Setting(log, output, folder, environment, job.environment, job.threads, PRELOAD, orphan_s)
        process, receiver = _process(job, setting)
        own_log = Path(os.devnull) if self.together else log  # the last line of theirs may be another's
        self.running.append(_Running(index, process, receiver, devices, own_log))
        self.on_event(index, None)

    def attend(self, one: _Running) -> None:
        """Take what a job says; tell and end one that is over its time, or that was asked to end."""
        now = time.monotonic()
        if one.message is None:
            one.receive()
            if one.message is not None:
                one.kill_at = now + self.grace_s  # it has only to leave
        if self.signal and not one.told:
            one.tell(f"asked to end ({self.signal.name})")
        if self.timeout_s and now - one.started > self.timeout_s and one.kill_at == float("inf"):
            one.tell(f"not done after {self.timeout_s:g} s")
            one.kill_at = now + self.grace_s
        if now > one.kill_at:
            one.kill()
