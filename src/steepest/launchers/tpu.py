"""What `trainer=tpu` needs of a machine."""

import importlib.util
import os

from steepest.errors import ConfigError

STAND_IN = "CPU"
"""Value of PJRT_DEVICE with which XLA compiles for the processor: slow, and the same graphs."""


def require(chosen: str, devices: int) -> None:
    """Raise ConfigError unless XLA has one device here.

    Without a TPU torch_xla takes the processor and only warns, so that it must be asked for by name.

    Args:
        chosen: what asks for it, such as trainer=tpu.
        devices: how many it asks for.
    """
    if importlib.util.find_spec("torch_xla") is None:
        raise ConfigError(
            f"{chosen} needs torch_xla, which is not installed; allowed are trainer=cpu, and trainer=tpu in the "
            "environment that scripts/setup_tpu.sh makes."
        )
    if os.environ.get("PJRT_DEVICE") != STAND_IN and not chips():
        raise ConfigError(
            f"{chosen} needs a TPU, and this machine has none; allowed are trainer=cpu, and the environment variable "
            f"PJRT_DEVICE={STAND_IN}, with which XLA compiles for the processor."
        )
    if devices != 1:
        raise ConfigError(
            f"{chosen} with trainer.devices={devices} is not possible: Lightning would fork the whole process, its "
            "sweep and its run folder included; allowed is 1."
        )


def chips() -> int:
    """TPU chips of this machine."""
    from torch_xla._internal import tpu

    return tpu.num_available_chips()
