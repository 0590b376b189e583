"""For the tests of ranks: a run in a warm process, and a callback that says where a rank is, and may end it."""

import os
import signal
import time
from pathlib import Path

from pytorch_lightning import Callback


class Trouble(Callback):
    """Ends one rank in the middle of training.

    Args:
        rank: which one, of all nodes.
        how: raise, exit, kill, hang or none.
        step: after which step.
    """

    def __init__(self, rank=1, how="none", step=3):
        self.rank, self.how, self.step = rank, how, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        step = pl_module.counters.opt_step
        if step == 1:
            write(f"pid-{trainer.global_rank}", str(os.getpid()))
        if trainer.global_rank == self.rank and step == self.step and self.how != "none":
            write("died", str(time.time()))
            if self.how == "exit":
                os._exit(9)
            while self.how == "hang":  # signals are noted, and nobody looks
                time.sleep(0.1)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ZeroDivisionError("in the middle of training")


def write(name, text):
    Path(f".{name}").write_text(text)
    Path(f".{name}").rename(name)  # nobody reads half of it


def train_words(words):
    from steepest.config import compose
    from steepest.train import train

    return train(compose(words))
