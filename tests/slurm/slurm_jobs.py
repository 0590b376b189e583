"""A callback for the runs of these tests: it waits, or dies, in the middle of training."""

import os
import signal
import time
from pathlib import Path

from pytorch_lightning import Callback


class Hold(Callback):
    """The first time that a run of some seed has done ten steps, say so and wait for a signal, or die.

    Args:
        seed: of the run.
        does: what it does by its seed, `wait` or `kill`; others train on.
        place: an absolute folder; the file `<seed>` there is the process' id.
    """

    def __init__(self, seed, does, place):
        self.what, self.file = does.get(seed), Path(place, str(seed))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if pl_module.counters.opt_step < 10 or self.what is None or self.file.exists() or trainer.global_rank:
            return
        written = self.file.with_name(f"{self.file.name}.tmp")
        written.write_text(str(os.getpid()))
        written.rename(self.file)
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        while not any(getattr(callback, "signal", None) for callback in trainer.callbacks):
            time.sleep(0.02)
