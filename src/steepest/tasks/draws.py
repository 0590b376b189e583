"""The random number generators of torch: the processor's, and that of XLA, which torch's own functions leave out."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def xla_states() -> list[int]:
    """The state of XLA's generator; empty where no device of XLA is in use."""
    if "torch_xla" not in sys.modules or not sys.modules["torch_xla"]._XLAC._xla_runtime_is_initialized():
        return []
    from torch_xla.core import xla_model

    return [xla_model.get_rng_state()]


def set_xla_states(states: list[int]) -> None:
    """Put XLA's generator back."""
    for state in states:
        from torch_xla.core import xla_model

        xla_model.set_rng_state(state)


def seed(number: int) -> None:
    """Begin anew, on all devices."""
    torch.manual_seed(number)
    set_xla_states([number for _ in xla_states()])


@contextmanager
def put_back(device: torch.device) -> Iterator[None]:
    """Let the body draw on the processor and on `device`, and leave both generators as if it had not."""
    states = xla_states()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        set_xla_states(states)
