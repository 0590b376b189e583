"""`steepest doctor`: what this machine has, and what to do about what is missing."""

import importlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steepest.config import compose, conf_dir

USAGE = """usage: steepest doctor [key=value] ...

Says what this machine has, and what to do about what is missing. The exit code is 0 when all that is needed works, else
1. paths.runs_dir, paths.data_dir and paths.cache_dir are the folders that are looked at."""

STOLEN = ("2.6.2", "2.6.3")
"""Releases of `lightning` that steal credentials when they are imported (advisory GHSA-w37p-236h-pfx3)."""
MODES = ("online", "offline", "disabled")
MEND_FIRST = "Mend what is broken first."
GB = 10**9
LOW_DISK = 5 * GB
LOW_MEMORY = 2 * GB
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    found: str
    remedy: str = ""
    """What to do; empty where nothing is missing."""
    broken: bool = False
    """It keeps every run from working."""


Check = Callable[[DictConfig], Iterator[Finding]]


def main(arguments: list[str]) -> int:
    """Print a table of what was found; returns the exit code (1: something that is needed is broken).

    Raises:
        ConfigError: a key or a value on the command line is wrong.
    """
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    cfg = compose(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table("", "check", box=None, padding=(0, 2, 0, 0))
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    broken: dict[str, None] = {}
    with console.status("looking ..."):
        for name, check in CHECKS.items():
            for finding in findings(check, cfg):
                state = "BROKEN" if finding.broken else "-" if finding.remedy else "ok"
                table.add_row(state, Text(name), Text(finding.found), Text(finding.remedy))
                broken |= {name: None} if finding.broken else {}
    console.print(table)
    print(f"\nTo be mended: {', '.join(broken)}." if broken else "\nAll that is needed works.")
    return 1 if broken else 0


def findings(check: Check, cfg: DictConfig) -> list[Finding]:
    """What a check finds; that it breaks is a finding, too."""
    try:
        return list(check(cfg))
    except Exception as error:
        return [Finding(f"this check itself failed: {brief(error)}", "Please report it.", broken=True)]


def brief(error: BaseException) -> str:
    """An exception in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def installed(package: str) -> str:
    """The version of a package by its record, without an import."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def imported(module: str) -> tuple[Any, str]:
    """A module and an empty string, or None and why it cannot be imported."""
    try:
        return importlib.import_module(module), ""
    except Exception as error:  # builds that do not fit raise RuntimeError, OSError and others
        return None, brief(error)


def check_python(cfg: DictConfig) -> Iterator[Finding]:
    """The interpreter."""
    allowed = metadata("steepest")["Requires-Python"]
    fits = SpecifierSet(allowed).contains(platform.python_version(), prereleases=True)
    found = f"{platform.python_version()}, {sys.executable}"
    yield Finding(found) if fits else Finding(found, f"Use Python {allowed}.", broken=True)


def check_steepest(cfg: DictConfig) -> Iterator[Finding]:
    """Our own version, and which configuration it reads."""
    yield Finding(f"{installed('steepest')}, {conf_dir()}")


def check_packages(cfg: DictConfig) -> Iterator[Finding]:
    """The versions of what steepest needs, against the bounds that it states."""
    needs = [need for text in requires("steepest") or () if applies(need := Requirement(text))]
    wrong = [need for need in needs if not fits(need)]
    if wrong:
        found = ", ".join(f"{need.name} {installed(need.name)}" for need in wrong)
        yield Finding(found, "pip install " + " ".join(f"'{need}'" for need in wrong), broken=True)
    else:
        yield Finding(f"{len(needs)} packages, all of versions that fit")
    if installed("lightning") in STOLEN:
        yield Finding(
            f"lightning {installed('lightning')}: this release steals credentials",
            "pip uninstall lightning, and change every password and key that this machine knows.",
            broken=True,
        )


def applies(need: Requirement) -> bool:
    """Whether a requirement is one of this machine, and not of an extra."""
    return need.marker is None or need.marker.evaluate({"extra": ""})


def fits(need: Requirement) -> bool:
    """Whether the package is there in a version that is allowed."""
    found = installed(need.name)
    return found != "not installed" and need.specifier.contains(found, prereleases=True)


def check_torch(cfg: DictConfig) -> Iterator[Finding]:
    """Whether torch works, and what it was built for."""
    torch, problem = imported("torch")
    if torch is None:
        remedy = "pip install --force-reinstall torch torchvision"
        yield Finding(f"{installed('torch')}: {problem}", remedy, broken=True)
        return
    cuda, rocm = torch.version.cuda, torch.version.hip
    yield Finding(f"{torch.__version__}, built for {f'CUDA {cuda}' if cuda else f'ROCm {rocm}' if rocm else 'CPUs'}")


def check_torchvision(cfg: DictConfig) -> Iterator[Finding]:
    """Whether torchvision fits torch: its operators are missing beside a torch of another build."""
    torchvision, problem = imported("torchvision")
    if torchvision is None:
        yield Finding(
            f"{installed('torchvision')} beside torch {installed('torch')}: {problem}",
            "torch and torchvision must come from the same place: pip install --force-reinstall torch torchvision",
            broken=True,
        )
    else:
        yield Finding(f"{torchvision.__version__}, fits torch")


def check_lightning(cfg: DictConfig) -> Iterator[Finding]:
    """Whether the Trainer can be imported."""
    lightning, problem = imported("pytorch_lightning")
    if lightning is None:
        remedy = "Mend torch and torchvision; if they work: pip install --force-reinstall pytorch-lightning"
        yield Finding(f"{installed('pytorch-lightning')}: {problem}", remedy, broken=True)
    else:
        yield Finding(lightning.__version__)


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
    """Whether torch's TPU support is installed."""
    found = installed("torch_xla")
    missing = found == "not installed"
    yield Finding("none", "Only needed for trainer=tpu: torch_xla.") if missing else Finding(f"torch_xla {found}")


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


def check_compiler(cfg: DictConfig) -> Iterator[Finding]:
    """The C++ compiler of torch.compile, and whether it finds Python's header files."""
    compiler = next(filter(None, map(shutil.which, [os.environ.get("CXX", ""), "g++", "clang++", "c++"])), None)
    without = "torch.compile needs it on a CPU; without it optimizers run eager."
    if compiler is None:
        yield Finding("none", f"Install g++ or clang++: {without}")
        return
    about = subprocess.run([compiler, "--version"], capture_output=True, text=True, timeout=30).stdout  # noqa: S603
    command = [compiler, "-x", "c++", "-fsyntax-only", "-I", sysconfig.get_path("include"), "-"]
    source = "#include <vector>\n#include <Python.h>\n"
    tried = subprocess.run(command, input=source, capture_output=True, text=True, timeout=60)  # noqa: S603
    found = f"{compiler}, {about.partition(chr(10))[0] or 'of unknown version'}"
    error = next((line for line in tried.stderr.splitlines() if "error" in line), "it compiles nothing")
    remedy = f"Install the header files of Python and C++ ({error.strip()}): {without}"
    yield Finding(found) if tried.returncode == 0 else Finding(found, remedy)


def check_wandb(cfg: DictConfig) -> Iterator[Finding]:
    """Whether there is a login, which is never shown, and the mode that the environment sets."""
    logger, problem = imported("steepest.runs.wandb_logger")
    if logger is None:
        yield Finding(f"not looked at: {problem}", MEND_FIRST)
        return
    login, mode = logger.has_key(), os.environ.get("WANDB_MODE")
    found = ("a login" if login else "no login") + (f", WANDB_MODE={mode}" if mode else "")
    if mode and mode not in MODES:
        yield Finding(found, f"W&B knows no such mode; set WANDB_MODE to one of {', '.join(MODES)}.")
    elif mode in ("offline", "disabled") or login:
        yield Finding(found)
    else:
        yield Finding(found, "wandb login sends runs at once; without it they are kept offline, for steepest sync.")


def check_folders(cfg: DictConfig) -> Iterator[Finding]:
    """Whether the folders can be written, and how much fits."""
    for key in ("runs_dir", "data_dir", "cache_dir"):
        path = Path(cfg.paths[key]).absolute()
        place = next(folder for folder in (path, *path.parents) if folder.exists())
        found = f"paths.{key}={cfg.paths[key]}"
        try:
            with tempfile.TemporaryFile(dir=place):
                free = shutil.disk_usage(place).free
        except OSError as error:
            remedy = f"{place} cannot be written ({error.strerror}); set paths.{key} to a folder that can."
            yield Finding(found, remedy, broken=key == "runs_dir")  # data may be there to be read alone
            continue
        low = "Free some space; steepest gc frees that of old checkpoints." if free < LOW_DISK else ""
        yield Finding(f"{found}, {free / GB:,.1f} GB free", low)


def check_data(cfg: DictConfig) -> Iterator[Finding]:
    """Which data sets are here."""
    build, problem = imported("steepest.build")
    here: list[str] = []
    missing: list[str] = []
    for name in sorted(file.stem for file in (conf_dir() / "dataset").glob("*.yaml")):
        own = compose([f"dataset={name}"])
        own.paths = cfg.paths
        try:
            location = build.build(own.dataset).location
        except Exception as error:  # what is amiss has a line of its own
            problem = problem or brief(error)
            continue
        (here if location is None or location.exists() else missing).append(name)
    if problem:
        yield Finding(f"not looked at: {problem}", MEND_FIRST)
        return
    remedy = f"For those you want: steepest prepare {' '.join(missing)}" if missing else ""
    yield Finding(", ".join(here), remedy)


def check_slurm(cfg: DictConfig) -> Iterator[Finding]:
    """Whether jobs can be given to a cluster."""
    sbatch = shutil.which("sbatch")
    yield Finding(sbatch) if sbatch else Finding("none", "Only needed to run jobs on a cluster.")


CHECKS: dict[str, Check] = {
    "Python": check_python,
    "steepest": check_steepest,
    "packages": check_packages,
    "torch": check_torch,
    "torchvision": check_torchvision,
    "Lightning": check_lightning,
    "GPU": check_gpus,
    "TPU": check_tpu,
    "CPU": check_cpu,
    "memory": check_memory,
    "C++ compiler": check_compiler,
    "W&B": check_wandb,
    "folders": check_folders,
    "data sets": check_data,
    "SLURM": check_slurm,
}
