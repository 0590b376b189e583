"""A sweep on a SLURM cluster whose runs end well, are preempted, cancelled or killed; and what is seen of it."""

import json
from types import SimpleNamespace

import pytest
from killing import content, differences
from slurm_bench import job_of

pytestmark = pytest.mark.slurm

DOES = {3: "wait", 4: "wait", 5: "kill"}


def since(before, cluster):
    """The jobs that are new, and their states."""
    return {job: state for job, state in cluster.jobs().items() if job not in before}


@pytest.fixture(scope="module")
def swept(shared):
    """Six runs at once: three end well, one is preempted by its signal, one cancelled, one killed."""
    cluster = shared.cluster
    before = cluster.jobs()  # of other tests
    sweep = shared.holding(DOES, "seed=0,1,2,3,4,5")
    preempted, _ = job_of(shared.held(3))
    cluster.ask("scancel", "--signal=USR2", preempted)
    cancelled, _ = job_of(shared.held(4))
    cluster.ask("scancel", cancelled)
    code, said = shared.ended(sweep)
    first = SimpleNamespace(code=code, said=said, statuses=shared.statuses(), jobs=since(before, cluster))
    _, first.table = shared.type("sweep", script="scripts/status.py")
    first.preempted, first.cancelled = cluster.job(preempted), cluster.job(cancelled)
    code, said = shared.ended(shared.holding(DOES, "seed=0,1,2,3,4,5", "retry_failed=true"))
    second = SimpleNamespace(code=code, said=said, statuses=shared.statuses(), jobs=since(before, cluster))
    _, second.table = shared.type("sweep", script="scripts/status.py")
    return SimpleNamespace(first=first, second=second)


def test_runs_that_end_well_are_collected_by_the_driver(swept, shared):
    for seed in (0, 1, 2):
        assert shared.run(seed).status["status"] == "finished"
        assert f"{shared.run(seed).summary['headline']['value']:.4g}" in swept.first.said


def test_a_sweep_with_failures_says_so_and_exits_with_an_error(swept):
    assert swept.first.code == 1, swept.first.said
    assert swept.first.statuses.count("finished") == 4
    assert "cancelled" in swept.first.said.lower()
    assert "SIGKILL" in swept.first.said


def test_a_preempted_run_is_requeued_and_ends_in_the_same_folder_with_the_same_bits(swept, shared, twin):
    assert swept.first.preempted["JobState"] == "COMPLETED"
    assert int(swept.first.preempted["Restarts"]) >= 1
    folder = shared.run(3)
    assert folder.status["attempt"] == 1
    assert {entry["opt_step"] for entry in folder.status["resumed"]} == {10}
    rows = [(row["opt_step"], *row) for row in folder.rows()]
    assert len(rows) == len(set(rows))
    assert not differences(content(folder), content(twin("seed=3")))


def test_what_was_cancelled_or_killed_is_shown_as_such(swept):
    assert swept.first.cancelled["JobState"] == "CANCELLED"
    [killed] = [state for state in swept.first.jobs.values() if state not in ("COMPLETED", "CANCELLED")]
    assert killed == "FAILED"
    assert "failed" in swept.first.table
    assert "cancelled" in swept.first.table.lower()


def test_failed_runs_are_retried_when_asked_and_no_others(swept, shared):
    assert swept.second.code == 0, swept.second.said
    assert swept.second.statuses == ["finished"] * 6
    assert len(swept.second.jobs) - len(swept.first.jobs) == 2
    assert [shared.run(seed).status["attempt"] for seed in range(4)] == [1] * 4


def test_the_ledger_numbers_all_runs_once(shared, swept):
    lines = [json.loads(line) for line in (shared.folder / "sweep" / "jobs.jsonl").read_text().splitlines()]
    numbers = [line["number"] for line in lines if "number" in line]
    assert len(numbers) == len(set(numbers))
    assert len({line["run_id"] for line in lines if "run_id" in line}) == 6
