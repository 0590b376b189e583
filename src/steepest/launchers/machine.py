"""What this machine can run, told before anything is built."""

import torch
from omegaconf import DictConfig

from steepest.errors import ConfigError
from steepest.launchers import tpu
from steepest.launchers.processes import cores


def settle(cfg: DictConfig) -> None:
    """Replace `auto` and null in a configuration by what this machine makes of them, in place.

    The run's id is taken from the settled values, since devices and thread counts decide the last bits of a result.

    Raises:
        ConfigError: the machine lacks what `trainer` or `precision` asks for.
    """
    trainer, chosen = cfg.trainer, f"trainer={cfg.choices.trainer}"
    if trainer.accelerator == "auto":
        trainer.accelerator = "gpu" if torch.cuda.is_available() else "cpu"
    if trainer.accelerator == "gpu" and torch.cuda.device_count() < trainer.devices:
        raise ConfigError(
            f"{chosen} asks for {trainer.devices} GPU(s), and this machine has {torch.cuda.device_count()}; "
            "allowed here are trainer=cpu, trainer=ddp_cpu and fewer trainer.devices."
        )
    if trainer.accelerator == "tpu":
        tpu.require(chosen, trainer.devices)
    if trainer.accelerator == "cpu" and trainer.devices > cores():
        raise ConfigError(f"trainer.devices={trainer.devices} exceeds the cores; allowed here is up to {cores()}.")
    if cfg.precision.lightning in trainer.refuses:
        raise ConfigError(f"{chosen} cannot run precision={cfg.choices.precision}; allowed is fp32 on every device.")
    if cfg.precision.needs_cuda and trainer.accelerator != "gpu":
        others = "" if trainer.accelerator == "tpu" else ", fp64, bf16_mixed and bf16_true"
        raise ConfigError(
            f"precision={cfg.choices.precision} needs an NVIDIA GPU, and this run uses {trainer.accelerator}; "
            f"allowed there {'are' if others else 'is'} fp32{others}."
        )
    if trainer.num_nodes > 1 and "data_parallel_size" in trainer.strategy:
        trainer.strategy.data_parallel_size = world_size(cfg)
    if cfg.threads is None:
        cfg.threads = max(1, cores() // trainer.devices) if trainer.accelerator == "cpu" else cores()


def ranks(cfg: DictConfig) -> int:
    """Processes that this machine must start for a run: one, unless it spreads over devices."""
    return 1 if cfg.trainer.accelerator == "tpu" else cfg.trainer.devices


def spreads(cfg: DictConfig) -> bool:
    """Whether a run has processes of its own for its devices, which find each other."""
    return ranks(cfg) * cfg.trainer.num_nodes > 1


def world_size(cfg: DictConfig) -> int:
    """Devices that share one batch."""
    return cfg.trainer.devices * cfg.trainer.num_nodes
