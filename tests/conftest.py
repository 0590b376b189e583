import os
import sys
from pathlib import Path

import pytest
import torch
from absl import logging as absl_logging

# TensorBoard brings this handler, which closes what it writes to when Hydra sets logging up: never pytest's own file.
absl_logging.get_absl_handler().python_handler.stream = sys.__stderr__

os.environ["WANDB_MODE"] = "offline"
os.environ.setdefault("WANDB_SILENT", "true")


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Every test works in a folder of its own, with caches of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEEPEST_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def data_dir() -> Path:
    """The folder of real data sets, where this machine has one."""
    folder = os.environ.get("STEEPEST_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data sets: set STEEPEST_DATA_DIR to their folder")
    return Path(folder)


def pytest_runtest_setup(item):
    """Tell reports which row of docs/conformance.md a test is for, and of which optimizers."""
    if marker := item.get_closest_marker("contract"):
        given = item.callspec.params if hasattr(item, "callspec") else {}
        names = marker.args[1:] or [given.get("name") or given["case"]]
        item.user_properties.append(("contract", [marker.args[0], list(names)]))
