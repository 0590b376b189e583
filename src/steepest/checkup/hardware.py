"""Checks of what the machine is made of: GPUs, TPUs, processor, memory."""

import os
import platform
import re
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from steepest.checkup.finding import GB, MEND_FIRST, Finding, brief, imported, installed
from steepest.launchers import tpu

LOW_MEMORY = 2 * GB
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def check_gpus(cfg: DictConfig) -> Iterator[Finding]:
    """The devices that torch can use, each with a small sum computed on it."""
    torch, _ = imported("torch")
    driver = nvidia_driver()
    if torch is None:
        yield Finding("not looked at", MEND_FIRST)
    elif torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield gpu(torch, index, driver)
    elif driver:
        cause = "is built for CPUs" if torch.version.cuda is None else f"needs a driver for CUDA {torch.version.cuda}"
        remedy = f"torch {cause}, or CUDA_VISIBLE_DEVICES hides the GPU; mend that, or train on the CPU."
        yield Finding(f"NVIDIA driver {driver}, and no GPU that torch can use", remedy)
    else:
        yield Finding("none", "Only needed for trainer=gpu, ddp or fsdp2 and for precision=tf32 or fp16_mixed.")


def gpu(torch: Any, index: int, driver: str) -> Finding:
    """What one GPU is, and whether it computes."""
    device = torch.device("cuda", index)
    about = torch.cuda.get_device_properties(device)
    with torch.cuda.device(device):
        bf16 = "with" if torch.cuda.is_bf16_supported(including_emulation=False) else "without"
    found = f"{about.name}, {about.total_memory / GB:.0f} GB, compute capability {about.major}.{about.minor}, "
    found += f"{bf16} bf16, driver {driver or 'unknown'}"
    try:
        works = torch.arange(4.0, device=device).sum().item() == 6.0
        problem = "it computes wrongly"
    except RuntimeError as error:
        works, problem = False, brief(error)
    remedy = f"It does not work ({problem}): get a torch built for it, or hide it by CUDA_VISIBLE_DEVICES."
    return Finding(found) if works else Finding(found, remedy, broken=True)


def nvidia_driver() -> str:
    """The version of the kernel's NVIDIA driver; empty without one."""
    file = PROC / "driver" / "nvidia" / "version"
    found = re.search(r"\s(\d+\.\d[\d.]*)\s", file.read_text()) if file.is_file() else None
    return found[1] if found else ""


def check_tpu(cfg: DictConfig) -> Iterator[Finding]:
    """Whether torch's TPU support is installed, and what it finds."""
    found = installed("torch_xla")
    if found == "not installed":
        yield Finding("none", "Only needed for trainer=tpu: torch_xla, in the environment of scripts/setup_tpu.sh.")
    elif count := tpu.chips():
        yield Finding(f"torch_xla {found}, {count} chip(s)")
    else:
        yield Finding(f"torch_xla {found}, no TPU", "trainer=tpu only works with PJRT_DEVICE=CPU, on the processor.")


def check_cpu(cfg: DictConfig) -> Iterator[Finding]:
    """The processor, and how much of it this process may use."""
    file = PROC / "cpuinfo"
    name = re.search(r"^model name\s*: (.*)$", file.read_text(), re.MULTILINE) if file.is_file() else None
    total = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else total
    limit = core_limit()
    found = f"{name[1] if name else platform.machine()}, {usable} of {total} cores usable"
    if limit < usable:
        remedy = f"Train with threads={max(1, int(limit))}: more threads would wait for each other."
        yield Finding(f"{found}, {limit:g} by the limit of the control group", remedy)
    else:
        yield Finding(found)


def check_memory(cfg: DictConfig) -> Iterator[Finding]:
    """How much memory is free, and how much a control group leaves of it."""
    file = PROC / "meminfo"
    sizes = dict(re.findall(r"^(\w+): +(\d+) kB$", file.read_text(), re.MULTILINE)) if file.is_file() else {}
    if not {"MemTotal", "MemAvailable"} <= set(sizes):
        yield Finding("unknown on this system")
        return
    total, free = (1024 * int(sizes[name]) for name in ("MemTotal", "MemAvailable"))
    limits = [
        int(text)
        for text in [*of_cgroup("memory", "memory.max"), *of_cgroup("memory", "memory.limit_in_bytes")]
        if text.isdigit()
    ]
    limit = min([total, *limits])
    found = f"{free / GB:.1f} GB free of {total / GB:.1f} GB"
    found += f", {limit / GB:.1f} GB by the limit of the control group" if limit < total else ""
    yield Finding(
        found, "Close other programs, or choose a smaller batch.micro_size." * (min(free, limit) < LOW_MEMORY)
    )


def core_limit() -> float:
    """Cores by the processor time that the control groups of this process are given."""
    quotas = [tuple(text.split()) for text in of_cgroup("cpu", "cpu.max")]
    quotas += zip(of_cgroup("cpu", "cpu.cfs_quota_us"), of_cgroup("cpu", "cpu.cfs_period_us"), strict=False)
    return min((int(quota) / int(period) for quota, period in quotas if quota not in ("max", "-1")), default=inf)


def of_cgroup(controller: str, name: str) -> Iterator[str]:
    """What a file says in this process' control group and in those above it (versions 1 and 2)."""
    file = PROC / "self" / "cgroup"
    for line in file.read_text().splitlines() if file.is_file() else ():
        _, controllers, path = line.split(":", 2)
        root = CGROUPS / controllers
        if not controllers or controller in controllers.split(","):
            for place in (below := root / path.lstrip("/"), *below.parents):
                if root in (place, *place.parents) and (place / name).is_file():
                    yield (place / name).read_text().strip()
