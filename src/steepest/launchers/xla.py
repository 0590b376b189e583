"""A TPU, or what stands in for it, as Lightning drives it. Of use only where torch_xla is."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning_fabric.plugins import XLACheckpointIO
from lightning_fabric.utilities import move_data_to_device
from pytorch_lightning import Trainer
from pytorch_lightning.accelerators import XLAAccelerator

from steepest.runs.checkpoint import AtomicCheckpointIO


class OneDevice(XLAAccelerator):
    """The first device of XLA. Lightning's own accelerator asks Google's metadata server, and takes nothing but TPUs.

    `tpu.require` has found the device.
    """

    def setup(self, trainer: Trainer) -> None:
        """Seed the device, whose generator is apart from torch's and begins with the same state in every process."""
        import torch_xla

        super().setup(trainer)
        torch_xla.manual_seed(torch.initial_seed())

    @staticmethod
    def is_available() -> bool:  # type: ignore[override]  # the base keeps its answer
        """It is."""
        return True

    @staticmethod
    def parse_devices(devices: Any) -> int:
        """One."""
        return 1

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        """The first one."""
        return [torch.device("xla", 0)]


class Checkpoints(AtomicCheckpointIO, XLACheckpointIO):
    """Our checkpoints, of tensors on the CPU; the second base is what Lightning's strategy for XLA asks for."""

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """As on every other device; the file can be read on all of them."""
        super().save_checkpoint(move_data_to_device(checkpoint, torch.device("cpu")), path, storage_options)
