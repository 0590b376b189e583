"""A study by jobs of SLURM."""

import pandas as pd
import pytest

pytestmark = pytest.mark.slurm


def test_a_study_runs_on_a_cluster(bench):
    before = bench.cluster.jobs()
    words = ["study=batch_variants", "scale=smoke", "rows=[update_noise]", "hydra/launcher=slurm"]
    code, said = bench.type(*words, script="scripts/reproduce.py")
    assert code == 0, said
    results = pd.read_csv(bench.folder / "runs" / "studies" / "batch_variants-smoke" / "results.csv")
    assert len(results) == len(bench.runs()) > 3
    assert set(results.status) == {"finished"}
    jobs = [state for job, state in bench.cluster.jobs().items() if job not in before]
    assert jobs == ["COMPLETED"] * len(results)
