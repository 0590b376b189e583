"""What `trainer=tpu` needs of a machine."""

import os
from importlib.util import find_spec

from steepest.errors import ConfigError

# Where it finds no TPU, `import torch_xla` takes the processor instead and sets PJRT_DEVICE to CPU, for all processes
# that are started from then on: a run that was meant for a TPU would train on, a hundred times slower.
os.environ.setdefault("PJRT_SELECT_DEFAULT_DEVICE", "0")


def require(chosen: str, devices: int) -> None:
    """Let torch_xla use the TPU of this machine, or with PJRT_DEVICE=CPU its processor.

    Args:
        chosen: what asks for it, such as trainer=tpu.
        devices: how many it asks for.

    Raises:
        ConfigError: there is none, or more than one is asked for.
    """
    if find_spec("torch_xla") is None:
        raise ConfigError(
            f"{chosen} needs torch_xla, which is not installed; allowed are trainer=cpu, and trainer=tpu in the "
            "environment that scripts/setup_tpu.sh makes."
        )
    if os.environ.get("PJRT_DEVICE") != "CPU":
        if not chips():
            raise ConfigError(
                f"{chosen} needs a TPU, and this machine has none; allowed are trainer=cpu, and PJRT_DEVICE=CPU in the "
                "environment, by which XLA compiles for the processor."
            )
        if find_spec("libtpu") is None:
            raise ConfigError(f"{chosen} needs libtpu, which is not installed; allowed here is trainer=cpu.")
        os.environ["PJRT_DEVICE"] = "TPU"
    if devices != 1:
        raise ConfigError(
            f"{chosen} with trainer.devices={devices} is not possible, since Lightning would fork this whole process "
            "for each device, its sweep and its run folder included; allowed is 1."
        )


def chips() -> int:
    """TPU chips of this machine."""
    from torch_xla._internal import tpu

    return tpu.num_available_chips()
