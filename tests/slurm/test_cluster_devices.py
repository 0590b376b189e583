"""Runs on many devices: on one node and on two, in one sweep with runs of another size."""

import pytest
import torch

pytestmark = pytest.mark.slurm


def weights(folder):
    return torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]


def test_ranks_on_one_node_and_on_two_equal_one_process_with_the_joint_batch(bench, twin):
    words = ["trainer=ddp_cpu", "precision=fp64"]
    before = bench.cluster.jobs()
    one_node = bench.sweep(*words, "seed=0", "trainer.devices=1,2", "paths.runs_dir=one_node", "hydra.sweep.dir=one")
    two_nodes = bench.sweep(
        *words, "seed=0", "trainer.devices=1", "trainer.num_nodes=2", "paths.runs_dir=two_nodes", "hydra.sweep.dir=two"
    )
    alone = weights(twin("precision=fp64", "seed=0"))
    for process, runs in ((one_node, "one_node"), (two_nodes, "two_nodes")):
        code, said = bench.ended(process)
        assert code == 0, said
        found = bench.runs(runs)
        assert [run.status["status"] for run in found] == ["finished"] * len(found)
        for run in found:
            torch.testing.assert_close(weights(run), alone, rtol=1e-11, atol=1e-11)
    assert len(bench.runs("one_node")) == 2
    # Runs that ask for something else are jobs of their own, not tasks of one array.
    jobs = [bench.cluster.job(job) for job in bench.cluster.jobs() if job not in before]
    assert sorted((job["NumNodes"], job["NumCPUs"]) for job in jobs) == [("1", "1"), ("1", "2"), ("2", "2")]
    assert len({job.get("ArrayJobId", job["JobId"]) for job in jobs}) == 3
