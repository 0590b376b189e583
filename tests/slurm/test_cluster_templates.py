"""The sbatch templates of slurm/."""

import pytest
import torch
from killing import content, differences
from slurm_bench import TINY, job_of, wait_for

pytestmark = pytest.mark.slurm


def said(bench, *jobs):
    return "\n".join((bench.folder / f"slurm-{job}.out").read_text() for job in jobs)


def ended(bench, job):
    """Wait until a job, or all tasks of an array, have left the queue."""
    wait_for(lambda: not bench.cluster.ask("squeue", "--noheader", f"--jobs={job}"))


def test_an_array_runs_the_lines_of_a_file_and_a_task_whose_time_is_up_goes_back_into_the_queue(bench, twin):
    cluster = bench.cluster
    held = " ".join(f"'{word}'" for word in bench.hold({0: "wait"}))
    (bench.folder / "jobs.txt").write_text(f"seed=0 {held}\nseed=1 'name=a name with spaces'\n")
    job = bench.submit("array.sbatch", "jobs.txt", *TINY, options=["--array=0-1"])
    first, _ = job_of(bench.held(0))
    cluster.ask("scancel", "--batch", "--signal=USR2", first)
    ended(bench, job)
    assert bench.statuses() == ["finished"] * 2, said(bench, f"{job}_0", f"{job}_1")
    assert (cluster.job(first)["JobState"], cluster.job(first)["Restarts"]) == ("COMPLETED", "1")
    assert [entry["opt_step"] for entry in bench.run(0).status["resumed"]] == [10]
    assert not differences(content(bench.run(0)), content(twin("seed=0")))
    assert bench.run(1).summary["name"] == "a name with spaces"


def test_an_array_without_a_file_runs_seeds_and_shows_what_failed_as_failed(bench):
    job = bench.submit("array.sbatch", *TINY, "batch.size=9999", options=["--array=3"])
    ended(bench, job)
    assert "batch.size=9999 exceeds the training set" in said(bench, f"{job}_3")
    assert (bench.cluster.job(f"{job}_3")["JobState"], bench.cluster.job(f"{job}_3")["ExitCode"]) == ("FAILED", "2:0")


def test_one_run_spreads_over_two_nodes_and_resumes_there(bench, twin):
    words = [*TINY, "precision=fp64", "trainer=ddp_cpu", "trainer.devices=1", *bench.hold({0: "wait"})]
    job = bench.submit("multi_node_ddp.sbatch", *words)
    bench.held(0)
    bench.cluster.ask("scancel", "--batch", "--signal=USR2", job)
    ended(bench, job)
    assert bench.statuses() == ["finished"], said(bench, job)
    assert bench.cluster.job(job)["Restarts"] == "1"
    assert [entry["opt_step"] for entry in bench.run(0).status["resumed"]] == [10]
    mine, alone = (
        torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]
        for folder in (bench.run(0), twin("precision=fp64"))
    )
    torch.testing.assert_close(mine, alone, rtol=1e-11, atol=1e-11)


def test_the_driver_of_a_sweep_is_a_job_itself(bench):
    job = bench.submit("sweep_driver.sbatch", *TINY, "seed=0,1", "hydra.sweep.dir=sweep")
    ended(bench, job)
    assert bench.statuses() == ["finished"] * 2, said(bench, job)
    assert bench.cluster.job(job)["JobState"] == "COMPLETED", said(bench, job)
