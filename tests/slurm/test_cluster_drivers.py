"""Drivers that die, and what is wrong before and after a sweep is submitted."""

import signal

import pytest
from slurm_bench import job_of, wait_for

pytestmark = pytest.mark.slurm


def test_a_driver_that_is_killed_loses_nothing_and_the_same_command_collects(bench):
    cluster = bench.cluster
    before = cluster.jobs()
    driver = bench.holding({0: "wait"}, "seed=0,1")
    job, _ = job_of(bench.held(0))
    driver.kill()
    again = bench.holding({0: "wait"}, "seed=0,1")  # while the run is still under way
    cluster.ask("scancel", "--signal=USR2", job)
    wait_for(lambda: bench.statuses() == ["finished"] * 2)
    code, said = bench.ended(again)
    assert code == 0, said
    code, said = bench.type("sweep", script="scripts/status.py")
    assert code == 0, said
    assert "2 runs: 2 finished" in said
    jobs = {job: state for job, state in cluster.jobs().items() if job not in before}
    assert sorted(jobs.values()) == ["COMPLETED"] * 2
    code, said = bench.ended(bench.holding({0: "wait"}, "seed=0,1"))
    assert code == 0, said
    assert cluster.jobs() == {**before, **jobs}
    assert [bench.run(seed).status["attempt"] for seed in (0, 1)] == [1, 1]


def test_ctrl_c_ends_the_driver_and_says_what_becomes_of_the_jobs(bench):
    driver = bench.holding({0: "wait"}, "seed=0")
    job, _ = job_of(bench.held(0))
    driver.send_signal(signal.SIGINT)
    code, said = bench.ended(driver)
    assert code == 130, said
    assert "The jobs go on" in said
    assert f"scancel {job}" in said
    assert "Traceback" not in said
    assert bench.cluster.jobs()[job] == "RUNNING"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["budget.steps=many"], "budget.steps=many is not possible; allowed is a whole number above 0"),
        (["hydra.launcher.partition=nowhere"], "nowhere"),
        (["trainer.num_nodes=9", "trainer=ddp_cpu"], "9"),
        (["hydra.launcher.constraint=h200"], "h200"),
        (["hydra.launcher.no_such_key=1"], "no_such_key"),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence_before_anything_runs(bench, words, sentence):
    before = bench.cluster.jobs()
    code, said = bench.ended(bench.sweep("seed=0,1", *words), 60)
    assert code == 2, said
    [line] = [line for line in said.splitlines() if line.startswith("steepest: ")]
    assert sentence in line
    assert "Traceback" not in said
    assert bench.cluster.jobs() == before


def test_a_mistake_that_only_a_run_can_find_is_told_by_its_sentence(bench):
    before = bench.cluster.jobs()
    code, said = bench.ended(bench.sweep("seed=0", "batch.size=9999"))
    assert code != 0
    assert "batch.size=9999" in said
    assert "exceeds the training set" in said
    [job] = [job for job in bench.cluster.jobs() if job not in before]
    assert bench.cluster.job(job)["JobState"] == "FAILED"
    assert bench.cluster.job(job)["ExitCode"] != "0:0"
