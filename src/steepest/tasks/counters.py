"""What a run has spent so far."""

from dataclasses import asdict, dataclass

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
