"""Values of a task's keys, and of tensors in low precision."""

import torch
from torch import Tensor

from steepest.errors import ConfigError, shown


def require(holds: bool, key: str, value: object, allowed: str) -> None:
    """Raise the ConfigError of a task's key unless the condition holds."""
    if not holds:
        raise ConfigError(f"task.{key}={shown(value)} is not possible; allowed are {allowed}.")


def at_least_float(tensor: Tensor) -> Tensor:
    """The tensor, in float32 if it is of less precision."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor
