"""What runs is what was submitted, from its own beginning: neither later code nor another's checkpoint."""

import json
import shutil
import subprocess

import pytest
from killing import content, differences
from slurm_bench import CHECKOUT, Bench, wait_for

pytestmark = pytest.mark.slurm


@pytest.fixture
def copied(cluster, tmp_path):
    """A folder in which the commands are those of a copy of the checkout, with all in it committed."""
    copy = tmp_path / "checkout"
    for name in ("src", "conf"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "train.py", copy)
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init"], ["add", "."], [*me, "commit", "--message=all"]):
        subprocess.run(["git", *words], cwd=copy, check=True, capture_output=True)
    (tmp_path / "work").mkdir()
    bench = Bench(cluster, tmp_path / "work", copy)
    yield bench
    bench.close()


def test_the_code_that_runs_is_the_code_that_was_submitted_and_a_stale_checkpoint_is_left_alone(copied, twin):
    cluster, folder = copied.cluster, copied.folder
    model = copied.program / "src" / "steepest" / "models" / "logistic.py"
    model.write_text(f"{model.read_text()}# not committed\n")
    blocker = ["--nodes=2", "--exclusive", "--output=/dev/null", "--wrap", "sleep 600"]
    before = cluster.ask("sbatch", "--parsable", *blocker).strip()
    wait_for(lambda: cluster.jobs()[before] == "RUNNING")
    sweep = copied.sweep("seed=0")
    wait_for(lambda: "PENDING" in cluster.jobs().values())

    model.write_text("raise RuntimeError('this was written after the submission')\n")
    (copied.program / "conf" / "model" / "logistic.yaml").unlink()
    lines = [json.loads(line) for line in (folder / "sweep" / "jobs.jsonl").read_text().splitlines()]
    [run] = [line["run_id"] for line in lines if "run_id" in line]
    other = twin("seed=7").checkpoint("last")
    for place in (folder, folder / "runs", folder / "runs" / run):  # where Lightning would find and load it
        place.mkdir(exist_ok=True)
        shutil.copy(other, place / "hpc_ckpt_1.ckpt")

    cluster.ask("scancel", before)
    code, said = copied.ended(sweep)
    assert code == 0, said
    assert copied.run(0).status["resumed"] == []
    assert not differences(content(copied.run(0)), content(twin("seed=0")))
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=copied.program, check=True, capture_output=True).stdout
    assert (folder / "sweep" / "code" / "commit.txt").read_bytes() == head
    assert "+# not committed" in (folder / "sweep" / "code" / "dirty.diff").read_text()
