"""scripts/slurm_cluster.sh, which other tests of this folder take as given."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from slurm_bench import CHECKOUT, wait_for

pytestmark = pytest.mark.slurm

SCRIPT = CHECKOUT / "scripts" / "slurm_cluster.sh"


def typed(tmp_path, *words, before=(), **environment):
    here = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
    with (tmp_path / "said.txt").open("w+") as file:  # not a pipe: daemons would keep it open
        command = [*before, str(SCRIPT), *map(str, words)]
        done = subprocess.run(command, stdout=file, stderr=file, env={**here, **environment}, timeout=120)
        file.seek(0)
        return done.returncode, file.read()


def daemons(folder):
    return sorted(int(path.read_text()) for path in folder.glob("*.pid"))


@pytest.fixture
def other(cluster, tmp_path):
    """The folder of a cluster beside that of the other tests; SLURM's sockets want a short name."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place) / "other"
        typed(tmp_path, "stop", Path(place) / "other")


def test_clusters_stand_side_by_side_and_each_command_may_come_twice(cluster, other, tmp_path):
    code, said = typed(tmp_path, "start", other)
    assert (code, said) == (0, f"export SLURM_CONF={other}/slurm.conf\n")
    pids = daemons(other)
    assert len(pids) == 3
    assert typed(tmp_path, "start", other) == (0, said)
    assert daemons(other) == pids
    code, said = typed(tmp_path, "status", other)
    assert code == 0
    assert said.count("idle") == 2
    job = ["sbatch", "--parsable", "--output=/dev/null", "--wrap", "sleep 300"]
    there = {**cluster.environment, "SLURM_CONF": str(other / "slurm.conf")}
    number = subprocess.run(job, env=there, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    running = ["squeue", "--noheader", "--states=running", f"--jobs={number}"]
    wait_for(lambda: subprocess.run(running, env=there, capture_output=True, timeout=60).stdout)
    assert typed(tmp_path, "stop", other) == (0, "")
    assert not other.exists()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert "there is none" in typed(tmp_path, "stop", other)[1]
    assert typed(tmp_path, "status", other)[0] == 1
    assert cluster.ask("sinfo", "--noheader", "--Node", "--states=idle,mixed,allocated").count("\n") == 2


def test_a_machine_that_does_not_know_its_own_name_will_do(other, tmp_path):
    nameless = ["unshare", "--uts", "sh", "-c", 'hostname nowhere.invalid && exec "$0" "$@"']
    if subprocess.run([*nameless, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to give this machine another name")
    code, said = typed(tmp_path, "start", other, before=nameless)
    assert code == 0, said
    there = {**os.environ, "SLURM_CONF": str(other / "slurm.conf")}
    command = [*nameless, "srun", "--nodes=2", "printenv", "SLURM_NODEID"]
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=60)
    assert sorted(done.stdout.split()) == ["0", "1"], done.stderr


def test_where_there_can_be_none_it_says_why_in_a_line_and_with_a_code_of_its_own(other, tmp_path):
    for name in ("bash", "env", "id", "realpath"):
        (tmp_path / name).symlink_to(shutil.which(name))
    code, said = typed(tmp_path, "start", other, PATH=str(tmp_path))
    assert (code, said) == (77, "slurm_cluster: SLURM is not installed, and there is no apt-get to install it with\n")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "usage: scripts/slurm_cluster.sh start|stop|status [FOLDER]"),
        (("begin",), "usage: scripts/slurm_cluster.sh start|stop|status [FOLDER]"),
        (("start", "/tmp/a b"), "FOLDER may not hold spaces"),
        (("start", f"/tmp/{'a' * 60}"), "FOLDER may have 60 letters"),
        (("start", CHECKOUT), "is not empty and holds no cluster"),
    ],
)
def test_what_it_cannot_do_it_says(tmp_path, words, sentence):
    code, said = typed(tmp_path, *words)
    assert code == 2
    assert sentence in said
    assert (CHECKOUT / "pyproject.toml").exists()
