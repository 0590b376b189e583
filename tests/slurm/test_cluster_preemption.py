"""The time limit, and nodes that fail: runs are saved, go back into the queue and come to the same end."""

import pytest
from killing import content, differences
from slurm_bench import job_of, wait_for

pytestmark = pytest.mark.slurm

OTHER = {"127.0.0.1": "127.0.0.2", "127.0.0.2": "127.0.0.1"}


def test_at_the_time_limit_a_run_is_saved_and_requeued_and_a_node_that_fails_costs_nothing(bench, twin):
    cluster = bench.cluster
    limits = ["hydra.launcher.timeout_min=5", "hydra.launcher.signal_delay_s=60"]
    limited = bench.holding({0: "wait"}, "seed=0", *limits, "hydra.sweep.dir=limited")
    late, node = job_of(bench.held(0))
    _, minutes, _ = cluster.job(late)["RunTime"].split(":")
    cluster.ask("scontrol", "update", f"JobId={late}", f"TimeLimit={int(minutes) + 2}")  # not to wait five minutes

    whole_node = ["hydra.launcher.cpus_per_task=2", "hydra.sweep.dir=unlucky"]  # the other one, or there is no room
    unlucky = bench.holding({1: "wait"}, "seed=1", *whole_node)
    wait_for(lambda: cluster.job(late)["Restarts"] == "1")
    cluster.ask("scontrol", "update", f"JobId={late}", "TimeLimit=5")
    lost, where = job_of(bench.held(1))
    assert where == OTHER[node]
    cluster.kill_node(where)
    cluster.start_node(where)

    for seed, job, process in ((0, late, limited), (1, lost, unlucky)):
        code, said = bench.ended(process)
        assert code == 0, said
        assert (cluster.job(job)["JobState"], cluster.job(job)["Restarts"]) == ("COMPLETED", "1")
        assert bench.run(seed).status["attempt"] == 1
        rows = [(row["opt_step"], *row) for row in bench.run(seed).rows()]
        assert len(rows) == len(set(rows))
        assert not differences(content(bench.run(seed)), content(twin(f"seed={seed}")))
    assert [entry["opt_step"] for entry in bench.run(0).status["resumed"]] == [10]


def test_a_warning_before_anybody_listens_puts_the_job_back_into_the_queue(bench):
    cluster = bench.cluster
    sweep = bench.sweep("seed=2")
    wait_for(lambda: cluster.running("submitit.core._submit"))  # Python has begun, and its modules are not there yet
    [job] = cluster.unended()
    cluster.ask("scancel", "--signal=USR2", job)
    code, said = bench.ended(sweep)
    assert code == 0, said
    assert (cluster.job(job)["JobState"], cluster.job(job)["Restarts"]) == ("COMPLETED", "1")
