"""What a run has spent so far."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass
class Counters:
    """Costs of a run, counted by its task, saved in its checkpoints."""

    opt_step: int = 0
    """Optimizer steps done."""
    examples: int = 0
    """Training examples that went forward and backward, over all devices."""
    grad_evals: int = 0
    """Gradients evaluated, each of a whole batch: one a step, more for optimizers with a closure."""
    wall_s: float = 0.0
    """Seconds of training, without validation and checkpoints."""

    def state_dict(self) -> dict[str, float]:
        """Plain numbers, for a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take over the numbers of a checkpoint."""
        for key, value in state.items():
            setattr(self, key, value)


class Clock:
    """Adds the seconds that it runs to `counters.wall_s`."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self._since: float | None = None

    def start(self) -> None:
        """Run from now on."""
        self._since = time.perf_counter()

    def read(self) -> float:
        """The seconds of the run up to now."""
        if self._since is not None:
            now = time.perf_counter()
            self.counters.wall_s += now - self._since
            self._since = now
        return self.counters.wall_s

    def stop(self) -> None:
        """Stand still from now on."""
        self.read()
        self._since = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still while the body runs."""
        self.stop()
        yield
        self.start()


class RunningMean:
    """The mean of a scalar since it was last taken; it stays on its device until then."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        self.count = 0

    def add(self, value: Tensor) -> None:
        """Count in a detached scalar; summed in float32 at least, since bfloat16 would soon stop growing."""
        value = value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
        self.total = value if self.total is None else self.total + value
        self.count += 1

    def take(self) -> float:
        """The mean, and start anew; NaN if nothing was added."""
        mean = float("nan") if self.total is None else self.total.item() / self.count
        self.total, self.count = None, 0
        return mean

    def state_dict(self) -> dict[str, Any]:
        """Sum and count, for a checkpoint."""
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over sum and count of a checkpoint."""
        self.total, self.count = state["total"], state["count"]
