"""Jobs for test_isolated.py: functions that its processes import, and a callback that ends or hangs a run."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pytorch_lightning import Callback


def who():
    return os.getpid(), os.getsid(0), os.getpgrp(), multiprocessing.current_process().daemon


def add(one, other):
    return one + other


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def meet(mine, other):
    """Return when another job is here too."""
    Path(mine).touch()
    wait_for(Path(other).exists)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def be_alone(place):
    """Whether no other job is at this place."""
    Path(place).mkdir()
    time.sleep(0.05)
    Path(place).rmdir()
    return True


def leave(code):
    os._exit(code)


def die(number):
    os.kill(os.getpid(), number)
    time.sleep(60)


def kill_the_server():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


def fail(text):
    raise ValueError(text)


def stop(code):
    print("said before the end")
    sys.exit(code)


def hang(pid_file, ignore):
    """Never return, with a process of its own that does not either."""
    if ignore:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleeper = subprocess.Popen(["sleep", "600"])
    Path(pid_file).write_text(str(sleeper.pid))
    while True:
        time.sleep(60)


def talk():
    print("from Python")
    print("to the error stream", file=sys.stderr)
    subprocess.run(["echo", "from a child"], check=True)


def environment():
    return dict(os.environ)


def threads():
    import torch

    return torch.get_num_threads()


def state():
    """All that a job could have inherited from another."""
    import numpy as np
    import torch

    return {
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "dtype": str(torch.get_default_dtype()),
        "torch": torch.random.get_rng_state().sum().item(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "numpy": str(np.geterr()),
        "signal": str(signal.getsignal(signal.SIGTERM)),
        "path": sys.path[:],
        "modules": "a_module_of_a_job" in sys.modules,
        "umask": os.umask(0o022),
        "argv": sys.argv[:],
    }


def spoil():
    """Change all of that."""
    import numpy as np
    import torch

    os.chdir("/")
    os.environ["LEFT_BY_A_JOB"] = "1"
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(12345)
    torch.set_num_threads(7)
    torch.use_deterministic_algorithms(True)
    np.seterr(all="raise")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.path.append("/nowhere")
    sys.modules["a_module_of_a_job"] = sys
    os.umask(0)
    sys.argv = ["changed"]


def numpy_draw():
    import numpy as np

    return np.random.random()  # noqa: NPY002


def use_memory(megabytes):
    return len(bytearray(os.urandom(1) * (megabytes * 1_000_000)))


def no_pickle():
    return lambda: None


class Trouble(Callback):
    """Ends or hangs a run after its first steps, as its seed says."""

    def __init__(self, seed, ends):
        self.how = ends.get(seed)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 2:
            if self.how == "exit":
                os._exit(9)
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            while self.how == "hang":  # signals are noted, and nobody looks
                Path(f"hangs-{os.getpid()}").touch()
                time.sleep(0.1)
