"""trainer=tpu where it cannot be; test_tpu.py trains."""

import importlib.machinery
import os
import sys

import pytest
from packaging.requirements import Requirement

from steepest.checkup import hardware, software
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.launchers import tpu
from steepest.train import train


@pytest.fixture
def machine(monkeypatch):
    """Pretend that these packages are installed, and that there are so many chips."""

    def pretend(packages, chips=0, device=None):
        spec = importlib.machinery.ModuleSpec("any", None)
        monkeypatch.setattr(tpu, "find_spec", lambda name: spec if name in packages else None)
        monkeypatch.setattr(tpu, "chips", lambda: chips)
        monkeypatch.setenv("PJRT_DEVICE", device) if device else monkeypatch.delenv("PJRT_DEVICE", raising=False)

    return pretend


def test_without_torch_xla_a_sentence_says_where_it_is(machine):
    machine([])
    with pytest.raises(ConfigError, match=r"trainer=tpu needs torch_xla, which is not installed.*setup_tpu\.sh makes"):
        train(compose(["trainer=tpu", "logger=none"]))


def test_the_default_environment_has_no_torch_xla_and_does_not_import_it():
    with pytest.raises(ConfigError, match="torch_xla"):
        train(compose(["trainer=tpu", "logger=none"]))
    assert "torch_xla" not in sys.modules


@pytest.mark.parametrize("device", [None, "TPU", "CUDA"])
def test_without_a_tpu_the_processor_is_not_taken_instead(machine, device):
    machine(["torch_xla", "libtpu"], device=device)
    with pytest.raises(ConfigError, match=r"trainer=tpu needs a TPU, and this machine has none; allowed.*PJRT_DEVICE"):
        tpu.require("trainer=tpu", 1)


def test_a_tpu_needs_its_library(machine):
    machine(["torch_xla"], chips=4)
    with pytest.raises(ConfigError, match="trainer=tpu needs libtpu, which is not installed"):
        tpu.require("trainer=tpu", 1)


@pytest.mark.parametrize(("chips", "device", "used"), [(4, None, "TPU"), (4, "TPU", "TPU"), (0, "CPU", "CPU")])
def test_what_is_there_is_used(machine, chips, device, used):
    machine(["torch_xla", "libtpu"], chips, device)
    tpu.require("trainer=tpu", 1)
    assert os.environ["PJRT_DEVICE"] == used


def test_more_devices_than_one_are_refused(machine):
    machine(["torch_xla"], device="CPU")
    with pytest.raises(ConfigError, match=r"trainer=tpu with trainer.devices=8 is not possible.*allowed is 1"):
        train(compose(["trainer=tpu", "trainer.devices=8", "logger=none"]))


@pytest.mark.parametrize("precision", ["fp64", "bf16_mixed", "bf16_true"])
def test_precisions_that_lightning_does_not_run_on_xla_are_refused(machine, precision):
    machine(["torch_xla"], device="CPU")
    with pytest.raises(ConfigError, match=f"trainer=tpu cannot run precision={precision}; allowed is fp32"):
        train(compose(["trainer=tpu", f"precision={precision}", "logger=none"]))


@pytest.mark.parametrize(("chips", "found"), [(0, "torch_xla 2.9.0, no TPU"), (4, "torch_xla 2.9.0, 4 chip(s)")])
def test_doctor_says_what_torch_xla_finds(monkeypatch, machine, chips, found):
    machine(["torch_xla"], chips)
    monkeypatch.setattr(hardware, "installed", lambda name: "2.9.0")
    [finding] = hardware.check_tpu(compose([]))
    assert finding.found == found
    assert ("PJRT_DEVICE=CPU" in finding.remedy) is (not chips)


@pytest.mark.parametrize(("torch_xla", "fits"), [("2.9.0", True), ("not installed", False)])
def test_doctor_takes_the_older_torch_beside_torch_xla_alone(monkeypatch, torch_xla, fits):
    monkeypatch.setattr(software, "installed", {"torch": "2.9.1", "torch_xla": torch_xla}.get)
    assert software.fits(Requirement("torch>=2.11")) is fits
