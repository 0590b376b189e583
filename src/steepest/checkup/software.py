"""Checks of what is installed: Python, the packages, the compiler."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import metadata, requires

from omegaconf import DictConfig
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from steepest.checkup.finding import Finding, imported, installed
from steepest.config import conf_dir

STOLEN = ("2.6.2", "2.6.3")
"""Releases of `lightning` that steal credentials when they are imported (advisory GHSA-w37p-236h-pfx3)."""

BESIDE_XLA = {"torch": "==2.9.*", "torchvision": "==0.24.*"}
"""What torch_xla 2.9 takes instead of what we ask for; see docs/tpu.md."""


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
    found, allowed = installed(need.name), need.specifier
    if need.name in BESIDE_XLA and installed("torch_xla") != "not installed":
        allowed = SpecifierSet(BESIDE_XLA[need.name])
    return found != "not installed" and allowed.contains(found, prereleases=True)


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
