"""What this machine can run, told before anything is built."""

import importlib.util
import os

import torch
from omegaconf import DictConfig

from steepest.errors import ConfigError


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def settle(cfg: DictConfig) -> None:
    """Replace `auto` and null in a configuration by what this machine makes of them, in place.

    The run's id is taken from the settled values, since devices and thread counts decide the last bits of a result.

    Raises:
        ConfigError: the machine lacks what `trainer` or `precision` asks for, or a value is out of range.
    """
    trainer, chosen = cfg.trainer, f"trainer={cfg.choices.trainer}"
    if trainer.accelerator == "auto":
        trainer.accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    at_least_one("trainer.devices", trainer.devices)
    if trainer.num_nodes != 1:
        raise ConfigError(f"trainer.num_nodes={trainer.num_nodes} cannot be started by this version; allowed is 1.")
    if trainer.accelerator not in ("cpu", "gpu", "tpu"):
        raise ConfigError(f"trainer.accelerator={trainer.accelerator} is unknown; allowed are auto, cpu, gpu and tpu.")
    if trainer.accelerator == "gpu" and torch.cuda.device_count() < trainer.devices:
        raise ConfigError(
            f"{chosen} asks for {trainer.devices} GPU(s), and this machine has {torch.cuda.device_count()}; "
            "allowed here are trainer=cpu, trainer=ddp_cpu and fewer trainer.devices."
        )
    if trainer.accelerator == "tpu" and importlib.util.find_spec("torch_xla") is None:
        raise ConfigError(f"{chosen} needs a TPU and torch_xla, which is not installed; allowed here is trainer=cpu.")
    if trainer.accelerator == "cpu" and trainer.devices > cores():
        raise ConfigError(f"trainer.devices={trainer.devices} exceeds the cores; allowed here is up to {cores()}.")
    if cfg.precision.needs_cuda and trainer.accelerator != "gpu":
        raise ConfigError(
            f"precision={cfg.choices.precision} needs an NVIDIA GPU, and this run uses {trainer.accelerator}; "
            "allowed there are fp32, fp64, bf16_mixed and bf16_true."
        )
    if cfg.precision.lightning in trainer.refuses:
        raise ConfigError(f"{chosen} cannot run precision={cfg.choices.precision}; allowed are fp32 and below.")
    if cfg.threads is None:
        cfg.threads = max(1, cores() // trainer.devices) if trainer.accelerator == "cpu" else cores()
    at_least_one("threads", cfg.threads)
    at_least_one("log.every", cfg.log.every)
    if not isinstance(cfg.seed, int) or not 0 <= cfg.seed < 2**32:
        raise ConfigError(f"seed={cfg.seed} is out of range; allowed is an integer from 0 to {2**32 - 1}.")


def at_least_one(key: str, value: object) -> None:
    """Raise ConfigError unless the value is an integer of 1 or more."""
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key}={value} is out of range; allowed is an integer of 1 or more.")


def ranks(cfg: DictConfig) -> int:
    """Processes that this machine must start for a run: one, unless it spreads over devices."""
    return 1 if cfg.trainer.accelerator == "tpu" else cfg.trainer.devices


def world_size(cfg: DictConfig) -> int:
    """Devices that share one batch."""
    return cfg.trainer.devices * cfg.trainer.num_nodes
