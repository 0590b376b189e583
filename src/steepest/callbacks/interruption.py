"""Ctrl-C and SIGTERM, at the end of a step."""

import os
import signal
import threading
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from steepest.runs.folder import Preempted

ASKED = {signal.SIGINT: "interrupted from the keyboard", signal.SIGTERM: "terminated from outside"}


class Interruption(pl.Callback):
    """Notes the first Ctrl-C or SIGTERM, for the run to end where it can save; a second Ctrl-C ends it at once.

    A batch scheduler's second SIGTERM changes nothing: it is often sent to a job's processes twice.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        self._process = os.getpid()

    def preempted(self) -> Preempted:
        """The exception that ends the run."""
        number = self.signal or signal.SIGTERM  # none: another rank was asked
        return Preempted(ASKED[number], 128 + number)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Listens from now on."""
        self.listen()

    def on_validation_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Ends the run; the step before the validation was saved."""
        self.end_if_asked()

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Listens again: each of Lightning's entry points sets signals for itself."""
        self.listen()

    def on_test_batch_end(self, trainer: pl.Trainer, *args: Any) -> None:
        """Ends the run; the last step was saved."""
        self.end_if_asked()

    def teardown(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        """Listens no more."""
        self.release()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        """Listens no more."""
        self.release()

    def end_if_asked(self) -> None:
        """Raise Preempted if the run was asked to end."""
        if self.signal:
            raise self.preempted()

    def listen(self) -> None:
        """Take the signals, unless this is no main thread or they are ignored."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in ASKED:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before.setdefault(number, signal.signal(number, self.handle))

    def release(self) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the signal, or end at once."""
        if os.getpid() != self._process:  # a loader worker, which got this handler by its fork; the run ends it
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.signal and number == signal.SIGINT:
            # Not print: a signal may come while something is being printed.
            os.write(2, b"\nStopping at the end of this step; Ctrl-C again stops at once, without saving.\n")
        self.signal = self.signal or signal.Signals(number)
