"""What this machine can run, told before anything is built."""

import importlib.util
import os
from typing import Any

import torch

from steepest.errors import ConfigError


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settle(config: dict[str, Any]) -> None:
    """Replace `auto` and null in a resolved configuration by what this machine makes of them, in place.

    The run's id is taken from the settled values, since devices and thread counts decide the last bits of a result.

    Raises:
        ConfigError: the machine lacks what `trainer` or `precision` asks for, or `threads` is out of range.
    """
    trainer, choices = config["trainer"], config["choices"]
    if trainer["accelerator"] == "auto":
        trainer["accelerator"] = "gpu" if torch.cuda.is_available() else "cpu"
    for key in ("devices", "num_nodes"):
        if not isinstance(trainer[key], int) or trainer[key] < 1:
            raise ConfigError(f"trainer.{key}={trainer[key]} is out of range; allowed is an integer of 1 or more.")
    accelerator, devices, chosen = trainer["accelerator"], trainer["devices"], choices["trainer"]
    if accelerator == "gpu" and torch.cuda.device_count() < devices:
        raise ConfigError(
            f"trainer={chosen} asks for {devices} GPU(s), and this machine has {torch.cuda.device_count()}; "
            "allowed here are trainer=cpu, trainer=ddp_cpu and fewer trainer.devices."
        )
    if accelerator == "tpu" and importlib.util.find_spec("torch_xla") is None:
        raise ConfigError(
            f"trainer={chosen} needs a TPU and torch_xla, which is not installed; allowed here is trainer=cpu."
        )
    if accelerator == "cpu" and devices > cores():
        raise ConfigError(f"trainer.devices={devices} exceeds the {cores()} CPU cores; allowed is up to {cores()}.")
    if accelerator not in ("cpu", "gpu", "tpu"):
        raise ConfigError(f"trainer.accelerator={accelerator} is unknown; allowed are auto, cpu, gpu and tpu.")
    if config["precision"]["needs_cuda"] and accelerator != "gpu":
        raise ConfigError(
            f"precision={choices['precision']} needs an NVIDIA GPU, and this run uses {accelerator}; "
            "allowed there are fp32, fp64, bf16_mixed and bf16_true."
        )
    if config["threads"] is None:
        config["threads"] = max(1, cores() // devices) if accelerator == "cpu" else cores()
    if not isinstance(config["threads"], int) or config["threads"] < 1:
        raise ConfigError(f"threads={config['threads']} is out of range; allowed is an integer of 1 or more.")


def ranks(config: dict[str, Any]) -> int:
    """Processes that this machine must start for a run: one, unless it spreads over devices."""
    return config["trainer"]["devices"] if config["trainer"]["accelerator"] != "tpu" else 1


def world_size(config: dict[str, Any]) -> int:
    """Devices that share one batch."""
    return config["trainer"]["devices"] * config["trainer"]["num_nodes"]
