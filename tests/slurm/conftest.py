"""A SLURM cluster for the tests of this folder."""

import subprocess
import tempfile
from pathlib import Path

import pytest
from slurm_bench import CHECKOUT, TINY, Bench, Cluster

from steepest.runs.folder import RunFolder

SCRIPT = CHECKOUT / "scripts" / "slurm_cluster.sh"
NO_CLUSTER = 77
"""The script's exit code where there can be none."""


@pytest.fixture(scope="session")
def cluster():
    """A cluster for all tests of this process; it is gone when they have ended. Its sockets want a short name."""
    if not SCRIPT.is_file():
        pytest.skip("needs the checkout's scripts/slurm_cluster.sh")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "cluster"
        # The daemons inherit what this starts with: a pipe would stay open for as long as they live.
        with (Path(place) / "start.log").open("w+") as said:
            done = subprocess.run([SCRIPT, "start", folder], stdout=said, stderr=said, timeout=1200)
            said.seek(0)
            text = said.read()
        if done.returncode == NO_CLUSTER:
            pytest.skip(text.strip().splitlines()[-1])
        assert done.returncode == 0, text
        try:
            yield Cluster(folder)
        finally:
            subprocess.run([SCRIPT, "stop", folder], timeout=120)


@pytest.fixture
def bench(cluster, tmp_path):
    """A folder for one test."""
    bench = Bench(cluster, tmp_path)
    yield bench
    bench.close()


@pytest.fixture(scope="module")
def shared(cluster, tmp_path_factory):
    """A folder for the tests of a file, which look at one sweep."""
    bench = Bench(cluster, tmp_path_factory.mktemp("shared"))
    yield bench
    bench.close()


@pytest.fixture
def twin(tmp_path, monkeypatch):
    """What a run alone, with nothing that interrupts it, comes to."""

    def train_alone(*words):
        from steepest.config import compose
        from steepest.train import train

        monkeypatch.chdir(tmp_path)
        place = Path(f"twin-{'-'.join(words)}")
        train(compose([*TINY, *words, f"paths.runs_dir='{place}'"]))
        [path] = place.absolute().glob("r*")
        return RunFolder(path)

    return train_alone
