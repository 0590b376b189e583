"""The time limit, and nodes that fail: runs are saved, go back into the queue and come to the same end."""

import pytest
from killing import content, differences
from slurm_bench import job_of

pytestmark = pytest.mark.slurm


def test_at_the_time_limit_a_run_is_saved_and_requeued_and_a_node_that_fails_costs_nothing(bench, twin):
    cluster = bench.cluster
    limits = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=30"]
    limited = bench.holding({0: "wait"}, "seed=0", *limits, "hydra.sweep.dir=limited")
    late, one = job_of(bench.held(0))
    other = {"127.0.0.1": "127.0.0.2", "127.0.0.2": "127.0.0.1"}[one]
    cluster.ask("scontrol", "update", f"NodeName={one}", "State=drain", "Reason=test")
    unlucky = bench.holding({1: "wait"}, "seed=1", "hydra.sweep.dir=unlucky")
    lost, node = job_of(bench.held(1))
    cluster.ask("scontrol", "update", f"NodeName={one}", "State=resume")
    assert node == other
    cluster.kill_node(other)
    cluster.start_node(other)
    code, said = bench.ended(unlucky)
    assert code == 0, said
    assert cluster.job(lost)["Restarts"] == "1"
    code, said = bench.ended(limited)
    assert code == 0, said
    assert (cluster.job(late)["JobState"], cluster.job(late)["Restarts"]) == ("COMPLETED", "1")
    assert [entry["opt_step"] for entry in bench.run(0).status["resumed"]] == [10]
    for seed in (0, 1):
        assert bench.run(seed).status["attempt"] == 1
        assert not differences(content(bench.run(seed)), content(twin(f"seed={seed}")))
