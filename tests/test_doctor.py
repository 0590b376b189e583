import os
import stat
import subprocess
import sys
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from steepest import doctor
from steepest.checkup import finding as basics
from steepest.checkup import hardware, software, surroundings
from steepest.checkup.finding import Finding
from steepest.cli import main
from steepest.config import conf_dir

SCRIPT = conf_dir().parent / "scripts" / "doctor.py"


def cfg(**paths):
    return OmegaConf.create({"paths": {"runs_dir": "runs", "data_dir": "data", "cache_dir": "cache", **paths}})


def found_by(check, **paths):
    return list(check(cfg(**paths)))


@pytest.fixture
def run(capsys):
    """Runs the command; gives its exit code and what it printed."""

    def command(*arguments):
        code = main(["doctor", *arguments])
        printed = capsys.readouterr()
        assert printed.err == ""
        return code, printed.out

    return command


@pytest.fixture
def only(monkeypatch):
    """Leaves one check, which finds these."""

    def replace(*findings):
        monkeypatch.setattr(doctor, "CHECKS", {"thing": lambda cfg: iter(findings)})

    return replace


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of files: /proc and the control groups, to write into."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    monkeypatch.setattr(hardware, "PROC", proc)
    monkeypatch.setattr(hardware, "CGROUPS", groups)

    def write(**files):
        for name, text in files.items():
            path = {"groups": groups, "proc": proc}[name.partition("__")[0]]
            path = path.joinpath(*name.split("__")[1:-1], name.split("__")[-1].replace("_DOT_", "."))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def versions(monkeypatch, **known):
    """These packages are installed, and no others."""

    def version(name):
        if (found := known.get(name.replace("-", "_"))) is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(basics, "version", version)


def test_this_machine_is_described_and_nothing_is_left_behind(run, monkeypatch):
    monkeypatch.delenv("STEEPEST_DATA_DIR", raising=False)
    before = sorted(Path().rglob("*"))
    code, output = run()
    assert code == 0
    assert f"{sys.version_info.major}.{sys.version_info.minor}." in output
    assert f"{torch.__version__}, built for" in output
    assert "fits torch" in output
    assert "cores usable" in output
    assert "paths.runs_dir=runs" in output
    assert "digits" in output
    assert output.endswith("\nAll that is needed works.\n")
    assert "\x1b" not in output
    assert sorted(Path().rglob("*")) == before


SMALL_TORCH = """
from types import SimpleNamespace as Space
__version__ = "2.12.0"
version = Space(cuda=None, hip=None)
cuda = Space(is_available=lambda: False)
"""
QUICK = """
import runpy, sys
from steepest import doctor
for slow in ("C++ compiler", "data sets"):
    del doctor.CHECKS[slow]
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the checkout's scripts/")
def test_a_torchvision_of_another_build_is_survived_and_named():
    Path("other").mkdir()
    Path("other/torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    Path("other/pytorch_lightning.py").write_text("import torchvision\n")  # as the real one does, in less time
    Path("other/torch.py").write_text(SMALL_TORCH)
    environment = {**os.environ, "PYTHONPATH": str(Path("other").absolute())}
    command = [sys.executable, "-c", QUICK, str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert any(line.startswith("BROKEN") and " torchvision " in line for line in done.stdout.splitlines())
    text = " ".join(done.stdout.split())
    assert "operator torchvision::nms does not exist" in text
    assert "must come from the same place" in text
    assert done.stdout.splitlines()[-1] == "To be mended: torchvision, Lightning."


@pytest.mark.parametrize(
    ("findings", "code", "said"),
    [
        ([Finding("3 things")], 0, "All that is needed works."),
        ([Finding("none", "Buy one.")], 0, "All that is needed works."),
        ([Finding("3 things"), Finding("bent", "Bend it back.", broken=True)], 1, "To be mended: thing."),
    ],
)
def test_the_exit_code_is_1_only_for_what_is_needed(run, only, findings, code, said):
    only(*findings)
    returned, output = run()
    assert returned == code
    assert output.splitlines()[-1] == said
    for finding in findings:
        assert finding.found in output
        assert finding.remedy in output


def test_markup_in_what_is_found_is_text(run, only):
    only(Finding("[red]x[/] [/y]", "[bold]z"))
    _, output = run()
    assert "[red]x[/] [/y]" in output
    assert "[bold]z" in output


def test_a_check_that_breaks_is_a_line_of_the_table(run, monkeypatch):
    def breaks(cfg):
        yield Finding("half")
        raise KeyError("no such\nthing")

    monkeypatch.setattr(doctor, "CHECKS", {"bad": breaks, "good": lambda cfg: iter([Finding("fine")])})
    code, output = run()
    assert code == 1
    assert "this check itself failed: KeyError: 'no such\\nthing'" in output
    assert "fine" in output
    assert output.endswith("To be mended: bad.\n")


def nothing(module):
    raise ImportError("nothing here")


@pytest.mark.parametrize("name", list(doctor.CHECKS))
def test_no_check_breaks_on_a_machine_without_anything(monkeypatch, machine, name):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no such compiler")
    monkeypatch.setattr(basics, "import_module", nothing)
    versions(monkeypatch)
    for finding in doctor.findings(doctor.CHECKS[name], cfg()):
        assert "this check itself failed" not in finding.found


def test_wrong_words_are_the_configurations_business(capsys):
    assert main(["doctor", "paths.runs_dri=x"]) == 2
    assert "runs_dri" in capsys.readouterr().err
    assert main(["doctor", "--help"]) == 0
    assert "usage: steepest doctor" in capsys.readouterr().out


def test_packages_are_held_against_the_bounds_that_steepest_states(monkeypatch):
    needs = ["torch>=2.11", "rich>=13.9,<20", "missing", "dev-tool>=9; extra == 'dev'", "never; python_version < '3'"]
    monkeypatch.setattr(software, "requires", lambda name: needs)
    versions(monkeypatch, torch="2.12.0+cpu", rich="14.0", missing="0.1")
    assert found_by(software.check_packages) == [Finding("3 packages, all of versions that fit")]
    versions(monkeypatch, torch="2.10.9", rich="20.1")
    [finding] = found_by(software.check_packages)
    assert finding.broken
    assert finding.found == "torch 2.10.9, rich 20.1, missing not installed"
    assert finding.remedy.startswith("pip install 'torch>=2.11' 'rich")


@pytest.mark.parametrize(("version", "bad"), [("2.6.2", True), ("2.6.3", True), ("2.6.4", False), ("2.6.1", False)])
def test_the_stealing_releases_of_lightning_are_named_without_an_import(monkeypatch, version, bad):
    monkeypatch.setattr(software, "requires", lambda name: [])
    versions(monkeypatch, lightning=version)
    monkeypatch.setitem(sys.modules, "lightning", None)  # an import would fail
    broken = [finding for finding in found_by(software.check_packages) if finding.broken]
    assert len(broken) == bad
    assert all(version in finding.found and "pip uninstall lightning" in finding.remedy for finding in broken)


def test_python_is_held_against_its_bounds(monkeypatch):
    assert not any(finding.broken for finding in found_by(software.check_python))
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.8.1")
    [finding] = found_by(software.check_python)
    assert finding.broken
    assert ">=3.11" in finding.remedy


def test_a_torch_that_cannot_be_imported_is_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    versions(monkeypatch, torch="2.12.0")
    [finding] = found_by(software.check_torch)
    assert finding.broken
    assert finding.found.startswith("2.12.0: ModuleNotFoundError")
    assert found_by(hardware.check_gpus)[0].found == "not looked at"


def fake_torch(monkeypatch, devices, cuda="13.2", compute=lambda: 6.0):
    """A torch with GPUs of this memory and compute capability."""
    properties = [
        SimpleNamespace(name="Big GPU", total_memory=memory, major=capability[0], minor=capability[1])
        for memory, capability in devices
    ]
    module = SimpleNamespace(
        version=SimpleNamespace(cuda=cuda),
        device=lambda kind, index: SimpleNamespace(index=index),
        arange=lambda end, device: SimpleNamespace(sum=lambda: SimpleNamespace(item=compute)),
        cuda=SimpleNamespace(
            is_available=lambda: bool(devices),
            device_count=lambda: len(devices),
            get_device_properties=lambda device: properties[device.index],
            device=lambda device: nullcontext(),
            is_bf16_supported=lambda including_emulation: devices[0][1][0] >= 8,
        ),
    )
    monkeypatch.setattr(basics, "import_module", {"torch": module}.__getitem__)


DRIVER = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version: 12.2.0\n"
)


def test_gpus_are_described_one_by_one(monkeypatch, machine):
    machine(proc__driver__nvidia__version=DRIVER)
    fake_torch(monkeypatch, [(80e9, (9, 0)), (24e9, (8, 6))])
    assert found_by(hardware.check_gpus) == [
        Finding("Big GPU, 80 GB, compute capability 9.0, with bf16, driver 535.104.05"),
        Finding("Big GPU, 24 GB, compute capability 8.6, with bf16, driver 535.104.05"),
    ]
    fake_torch(monkeypatch, [(16e9, (7, 0))])
    assert "without bf16" in found_by(hardware.check_gpus)[0].found


def no_kernel():
    raise RuntimeError("CUDA error: no kernel image is available for execution on the device")


@pytest.mark.parametrize(("compute", "said"), [(no_kernel, "no kernel image"), (lambda: 5.0, "computes wrongly")])
def test_a_gpu_that_does_not_compute_is_broken(monkeypatch, machine, compute, said):
    fake_torch(monkeypatch, [(80e9, (12, 0))], compute=compute)
    [finding] = found_by(hardware.check_gpus)
    assert finding.broken
    assert said in finding.remedy


@pytest.mark.parametrize(("cuda", "said"), [(None, "is built for CPUs"), ("13.2", "needs a driver for CUDA 13.2")])
def test_a_gpu_that_torch_cannot_use_is_explained(monkeypatch, machine, cuda, said):
    machine(proc__driver__nvidia__version=DRIVER)
    fake_torch(monkeypatch, [], cuda=cuda)
    [finding] = found_by(hardware.check_gpus)
    assert not finding.broken
    assert "535.104.05" in finding.found
    assert said in finding.remedy


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"groups__cpu_DOT_max": "max 100000\n"}, None),
        ({"groups__cpu_DOT_max": "50000 100000\n"}, "0.5"),
        ({"groups__a__b__cpu_DOT_max": "max 100000\n", "groups__a__cpu_DOT_max": "25000 100000\n"}, "0.25"),
        ({"groups__elsewhere__cpu_DOT_max": "25000 100000\n"}, None),
    ],
)
def test_the_limit_of_the_control_group_is_told(machine, files, limit):
    machine(proc__self__cgroup="0::/a/b\n", proc__cpuinfo="processor\t: 0\nmodel name\t: Fast CPU\n", **files)
    [finding] = found_by(hardware.check_cpu)
    assert finding.found.startswith(f"Fast CPU, {len(os.sched_getaffinity(0))} of {os.cpu_count()} cores usable")
    assert (f", {limit} by the limit" in finding.found) is bool(limit)
    assert finding.remedy.startswith("Train with threads=1:") is bool(limit)


@pytest.mark.parametrize(("quota", "limited"), [("-1", False), ("50000", True)])
def test_control_groups_of_version_1(monkeypatch, machine, quota, limited):
    machine(
        proc__self__cgroup="4:memory:/\n3:cpu,cpuacct:/gone\n",
        **{"groups__cpu,cpuacct__cpu_DOT_cfs_quota_us": quota, "groups__cpu,cpuacct__cpu_DOT_cfs_period_us": "100000"},
    )
    assert hardware.core_limit() == (0.5 if limited else float("inf"))


@pytest.mark.parametrize(
    ("limit", "text", "low"),
    [
        ("max", "50.0 GB free of 100.0 GB", False),
        ("8000000000", "50.0 GB free of 100.0 GB, 8.0 GB by the limit of the control group", False),
        ("1000000000", "50.0 GB free of 100.0 GB, 1.0 GB by the limit of the control group", True),
    ],
)
def test_memory_is_told_with_its_limit(machine, limit, text, low):
    meminfo = "MemTotal:       97656250 kB\nMemFree:  5 kB\nMemAvailable:   48828125 kB\n"
    machine(proc__self__cgroup="0::/\n", proc__meminfo=meminfo, groups__memory_DOT_max=limit)
    [finding] = found_by(hardware.check_memory)
    assert finding.found == text
    assert bool(finding.remedy) is low


def compiler(script):
    """A compiler of this behaviour, found first."""
    path = Path("compiler").absolute()
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_compiler_is_tried(monkeypatch):
    monkeypatch.setenv("CXX", compiler('[ "$1" = --version ] && echo "fastc++ 9" && exit; grep -q Python.h'))
    [finding] = found_by(software.check_compiler)
    assert finding == Finding(f"{Path('compiler').absolute()}, fastc++ 9")
    monkeypatch.setenv("CXX", compiler("echo 'fatal error: Python.h: No such file' >&2; exit 1"))
    [finding] = found_by(software.check_compiler)
    assert not finding.broken
    assert "Python.h: No such file" in finding.remedy
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX")
    assert found_by(software.check_compiler)[0].found == "none"


KEY = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("mode", "key", "found", "remedy"),
    [
        (None, True, "a login", ""),
        (None, False, "no login", "wandb login"),
        ("offline", False, "no login, WANDB_MODE=offline", ""),
        ("disabled", True, "a login, WANDB_MODE=disabled", ""),
        ("online", False, "no login, WANDB_MODE=online", "wandb login"),
        ("onlin", True, "a login, WANDB_MODE=onlin", "one of online, offline, disabled"),
    ],
)
def test_the_wandb_login_is_told_but_never_shown(monkeypatch, tmp_path, mode, key, found, remedy):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    if key:
        monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.delenv("WANDB_MODE")
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    [finding] = found_by(surroundings.check_wandb)
    assert finding.found == found
    assert not finding.broken
    assert remedy in finding.remedy
    assert bool(finding.remedy) is bool(remedy)
    assert KEY[:6] not in str(finding)


def test_folders_that_are_not_there_yet_are_judged_by_those_above():
    found = found_by(surroundings.check_folders, runs_dir="a/b/c")
    assert [finding.found.partition(",")[0] for finding in found] == [
        "paths.runs_dir=a/b/c",
        "paths.data_dir=data",
        "paths.cache_dir=cache",
    ]
    assert not any(finding.broken for finding in found)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(("key", "broken"), [("runs_dir", True), ("data_dir", False), ("cache_dir", False)])
def test_a_folder_that_cannot_be_written_is_named(key, broken):
    Path("file").touch()
    findings = found_by(surroundings.check_folders, **{key: "file/below"})
    [bad] = [finding for finding in findings if f"set paths.{key}" in finding.remedy]
    assert bad.broken is broken
    assert "Not a directory" in bad.remedy
    assert len(findings) == 3


def test_little_space_is_a_remark(monkeypatch):
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda place: SimpleNamespace(free=2_500_000_000))
    for finding in found_by(surroundings.check_folders):
        assert finding.found.endswith(", 2.5 GB free")
        assert "steepest gc" in finding.remedy
        assert not finding.broken


def test_data_sets_are_looked_for_in_the_data_folder():
    Path("my 'data'/FashionMNIST/raw").mkdir(parents=True)
    [finding] = found_by(surroundings.check_data, data_dir="my 'data'")
    found = finding.found.split(", ")
    assert {"digits", "fashion_mnist", "noise", "rosenbrock"} <= set(found)
    assert "mnist" not in found
    missing = finding.remedy.removeprefix("For those you want: steepest prepare ").split()
    every = {file.stem for file in (conf_dir() / "dataset").glob("*.yaml")}
    assert set(missing) == every - set(found)


def test_slurm_and_tpu_are_told_where_they_are(monkeypatch):
    Path("bin").mkdir()
    Path("bin/sbatch").write_text("#!/bin/sh\n")
    Path("bin/sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    assert found_by(surroundings.check_slurm) == [Finding(str(Path("bin/sbatch").absolute()))]
    monkeypatch.setenv("PATH", "")
    assert found_by(surroundings.check_slurm)[0].remedy
    versions(monkeypatch, torch_xla="2.9")
    monkeypatch.setattr(hardware.tpu, "chips", lambda: 4)
    assert found_by(hardware.check_tpu) == [Finding("torch_xla 2.9, 4 chip(s)")]
    versions(monkeypatch)
    assert found_by(hardware.check_tpu)[0].found == "none"
