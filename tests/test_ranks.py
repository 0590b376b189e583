"""Ranks of a run: how they end together, whatever happens to one of them, in sweeps and on several nodes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from isolated_jobs import wait_for
from omegaconf import OmegaConf
from rank_jobs import train_words

from steepest.assemble import assemble
from steepest.config import compose, spelled_out
from steepest.errors import ConfigError
from steepest.launchers.group import PORTS, Group, first_host, group_of
from steepest.launchers.machine import settle
from steepest.launchers.processes import Job, cores, run_jobs
from steepest.launchers.ranks import RankFailed
from steepest.runs.folder import RunFolder
from steepest.targets import ALLOW_VARIABLE
from steepest.train import train

TWO = pytest.mark.skipif(cores() < 2, reason="two ranks need two cores")
NEEDS_PROC = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
SMALL = ["model=logistic", "threads=1", "budget={steps:12,epochs:null}", "logger=none", "callbacks=none"]
ENDLESS = [*SMALL, "budget.steps=1000000", "validation.every=100000", "trainer=ddp_cpu"]
TROUBLE = ["+callbacks.trouble._target_=rank_jobs.Trouble"]
LATEST = 20.0
"""Seconds within which a run has to end when one of its ranks has."""


def command(*words):
    """A `steepest train` command that has just begun."""
    words = [sys.executable, "-m", "steepest.cli", "train", *words, "--allow-target", "rank_jobs"]
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=here)


@contextmanager
def training(*jobs):
    """Runs that begin in warm processes, each by its words and its own environment; yields what becomes of them."""
    given = [
        Job(train_words, [words], log=Path(f"{number}.txt"), environment={ALLOW_VARIABLE: "rank_jobs", **environment})
        for number, (words, environment) in enumerate(jobs)
    ]
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(run_jobs, given, len(given), 120.0)


def since_death():
    return time.time() - float(Path("died").read_text())


def wait_for_ranks(count=2):
    """The process ids of the ranks, when all of them train."""
    wait_for(lambda: len(list(Path.cwd().glob("pid-*"))) == count, 120)
    return [int(path.read_text()) for path in Path.cwd().glob("pid-*")]


def wait_for_the_end_of(pids):
    wait_for(lambda: not any(map(lives, pids)), LATEST)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def only_run(runs_dir="runs"):
    [path] = Path(runs_dir).glob("r*")
    return RunFolder(path)


def weights(folder):
    state = torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("model.")}


@TWO
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("raise", "ZeroDivisionError: in the middle of training"),
        ("exit", "exit code 9"),
        ("kill", "ended by SIGKILL, as the system does when memory runs out"),
    ],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_that_dies_ends_the_run_with_its_own_reason(how, reason, rank, monkeypatch, capfd):
    """And not with that of the others, which lose their connection."""
    monkeypatch.setenv(ALLOW_VARIABLE, "rank_jobs")
    with pytest.raises(RankFailed) as caught:
        train(compose([*ENDLESS, *TROUBLE, f"+callbacks.trouble.how={how}", f"+callbacks.trouble.rank={rank}"]))
    assert since_death() < LATEST
    folder = only_run()
    assert str(caught.value) == f"rank {rank} of 2 failed: {reason}; see {folder.log_file}"
    assert folder.status["status"] == "failed"
    assert folder.status["reason"] == f"RankFailed: {caught.value}"
    said = capfd.readouterr().err
    if how == "raise":
        assert said.startswith("Traceback (most recent call last):")
        assert said.endswith(
            'raise ZeroDivisionError("in the middle of training")\nZeroDivisionError: in the middle of training\n'
        )
        assert said in folder.log_file.read_text()
    else:
        assert len(said.splitlines()) <= 21
    wait_for_the_end_of([int(path.read_text()) for path in Path.cwd().glob("pid-*")])


@TWO
@pytest.mark.slow
def test_a_command_whose_rank_dies_says_why_and_fails():
    process = command(*ENDLESS, *TROUBLE, "+callbacks.trouble.how=raise")
    said, _ = process.communicate(timeout=120)
    assert since_death() < LATEST
    assert process.returncode == 1
    *before, last = said.splitlines()
    where = only_run().log_file
    assert last == f"steepest: rank 1 of 2 failed: ZeroDivisionError: in the middle of training; see {where}"
    assert "ZeroDivisionError: in the middle of training" in before


@TWO
@NEEDS_PROC
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_ranks_save_together_when_the_run_is_asked_to_end(number):
    with training(([*ENDLESS, *TROUBLE], {})) as run:
        pids = wait_for_ranks()
        os.kill(only_run().status["pid"], number)
        [outcome] = run.result()
    folder = only_run()
    assert folder.status["status"] == "preempted"
    if number == signal.SIGTERM:
        assert folder.status["reason"] == "terminated from outside"
        assert outcome.exit_code == 143
    else:
        assert folder.status["reason"] == "interrupted from the keyboard"
        assert "Stopping at the end of this step" in Path("0.txt").read_text()
        assert outcome.exit_code == 130
    saved = torch.load(folder.checkpoint("last"), weights_only=True)
    assert len(saved["run"]["ranks"]) == 2
    assert saved["run"]["opt_step"] >= 1
    wait_for_the_end_of(pids)


@pytest.mark.slow
@TWO
@NEEDS_PROC
def test_a_second_ctrl_c_ends_ranks_at_once_that_do_not_look():
    with training(([*ENDLESS, *TROUBLE, "+callbacks.trouble.how=hang"], {})) as run:
        pids = wait_for_ranks()
        wait_for(Path("died").exists)
        os.kill(only_run().status["pid"], signal.SIGINT)
        wait_for(lambda: "Stopping" in Path("0.txt").read_text())
        os.kill(only_run().status["pid"], signal.SIGINT)
        [outcome] = run.result(timeout=LATEST)
    assert outcome.reason.startswith("KeyboardInterrupt")
    assert only_run().status["reason"] == "interrupted from the keyboard, at once"
    wait_for_the_end_of(pids)


@TWO
@NEEDS_PROC
def test_ranks_go_when_the_process_that_started_them_is_killed():
    with training(([*ENDLESS, *TROUBLE], {})) as run:
        pids = wait_for_ranks()
        os.kill(only_run().status["pid"], signal.SIGKILL)
        [outcome] = run.result(timeout=LATEST)
    assert outcome.exit_code == -signal.SIGKILL
    wait_for_the_end_of(pids)


# --- in sweeps

SWEEP = ["-m", "hydra/launcher=isolated", "hydra.launcher.n_jobs=1", "hydra.sweep.dir=sweep"]


@TWO
@pytest.mark.slow
def test_a_sweep_over_devices_runs_each_run_once_and_right():
    small = [*SMALL, "precision=fp64", "batch.size=100", "trainer=ddp_cpu"]
    process = command(*SWEEP, *small, "devices=1,2", "seed=0,1")
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    found, steps = {}, []
    for path in Path("runs").glob("r*"):
        folder, config = RunFolder(path), OmegaConf.load(path / "config.yaml")
        assert folder.status["status"] == "finished"
        assert folder.status["attempt"] == 1
        steps.append([row["opt_step"] for row in folder.rows()])
        found[config.trainer.devices, config.seed] = weights(folder)
    assert sorted(found) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for seed in (0, 1):
        torch.testing.assert_close(found[2, seed], found[1, seed], rtol=1e-11, atol=1e-11)
    assert any(not torch.equal(found[1, 0][name], found[1, 1][name]) for name in found[1, 0])
    train(compose([*small, "devices=2", "seed=1", "paths.runs_dir=alone"]))
    torch.testing.assert_close(weights(only_run("alone")), found[2, 1], rtol=0, atol=0)
    assert steps == [[row["opt_step"] for row in only_run("alone").rows()]] * 4  # nobody else wrote there


@TWO
@NEEDS_PROC
@pytest.mark.slow
def test_nothing_is_left_behind_when_a_sweep_is_killed():
    process = command(*SWEEP, *ENDLESS, *TROUBLE)
    pids = wait_for_ranks()
    job = only_run().status["pid"]
    assert job not in (*pids, process.pid)
    process.kill()
    process.communicate(timeout=60)
    wait_for_the_end_of([*pids, job])
    assert only_run().status["status"] == "preempted"  # the job is told to end, and its ranks save


# --- on several nodes

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
    "SLURM_NNODES": "2",
    "SLURM_NTASKS": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NODELIST": "127.0.0.[1-2]",
    "SLURM_RESTART_COUNT": "3",
    "SLURM_STEP_ID": "5",
}


def on_nodes(count):
    return OmegaConf.create({"trainer": {"num_nodes": count}})


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node7", "node7"),
        ("node7,other", "node7"),
        ("a[1-3,7],b", "a1"),
        ("gpu[007,009-012]", "gpu007"),
        ("rack[2-3]n[10-12,20]-ib,login", "rack2n10-ib"),
        ("127.0.0.[1-2]", "127.0.0.1"),
    ],
)
def test_the_first_host_of_a_list(hosts, first):
    assert first_host(hosts) == first


def test_a_group_is_what_slurm_says():
    group = group_of(on_nodes(2), SLURM)
    assert (group.nodes, group.node, group.address, group.step) == (2, 1, "127.0.0.1", "4711.3.5")
    assert group.port in PORTS
    assert group_of(on_nodes(2), {**SLURM, "SLURM_NODEID": "0"}).port == group.port
    assert group_of(on_nodes(2), {**SLURM, "SLURM_STEP_ID": "6"}).port != group.port
    assert group_of(on_nodes(2), {**SLURM, "SLURM_JOB_ID": "4712"}).port != group.port
    first, second = (group.environment(rank, 2) for rank in range(2))
    assert second == {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(group.port),
        "WORLD_SIZE": "4",
        "NODE_RANK": "1",
        "LOCAL_RANK": "1",
        "RANK": "3",
    }
    assert (first["LOCAL_RANK"], first["RANK"]) == ("0", "2")
    of_a_step = {"SLURM_NNODES": "9", "SLURM_STEP_NUM_NODES": "2", "SLURM_NTASKS": "9", "SLURM_STEP_NUM_TASKS": "2"}
    assert group_of(on_nodes(2), {**SLURM, **of_a_step}).nodes == 2
    alone = group_of(on_nodes(1), SLURM)
    assert (alone.nodes, alone.node, alone.address, alone.step) == (1, 0, "127.0.0.1", None)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"SLURM_JOB_ID": None}, "is not possible outside of SLURM, which gives the nodes; allowed is 1."),
        ({"SLURM_NNODES": "3"}, "is not what SLURM gives, 3 node(s); allowed is 3."),
        ({"SLURM_NTASKS": "4"}, "with 4 tasks is not possible, since each node starts its own ranks; allowed is one"),
        ({"SLURM_JOB_NODELIST": "no.such.host.invalid"}, "begins with no.such.host.invalid, which cannot be found"),
    ],
)
def test_nodes_that_slurm_does_not_give_are_refused(changed, said):
    environment = {key: value for key, value in {**SLURM, **changed}.items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        group_of(on_nodes(2), environment)
    assert said in str(caught.value)


def test_a_node_waits_for_the_first_one_of_its_own_step(tmp_path):
    group, folder = Group(2, 1, "127.0.0.1", 15_000, "4711.0.1"), RunFolder(tmp_path)
    for status in ({}, {"status": "running", "slurm_step": "4711.0.0"}, {"status": "failed", "slurm_step": group.step}):
        (tmp_path / "status.json").write_text(json.dumps(status))
        with pytest.raises(ConfigError, match=r"node 0 has not begun in .* within 0\.1 s"):
            group.wait_for_first(folder, 0.1)
    (tmp_path / "status.json").write_text(json.dumps({"status": "running", "slurm_step": group.step}))
    group.wait_for_first(folder, 0.1)


def test_short_words_stand_for_keys_of_the_trainer():
    assert spelled_out("devices=1,2") == "trainer.devices=1,2"
    assert spelled_out("nodes=2") == "trainer.num_nodes=2"
    assert spelled_out("seed=0") == "seed=0"
    assert spelled_out("-m") == "-m"
    assert compose(["trainer=ddp", "devices=3", "nodes=4"]).trainer.devices == 3


def nodes(*words):
    """A job for each of two nodes."""
    return [([*words, "devices=1", "nodes=2"], {**SLURM, "SLURM_NODEID": str(node)}) for node in (0, 1)]


@pytest.mark.slow
@TWO
def test_two_nodes_equal_one_process_with_the_joint_batch():
    words = [*SMALL, "precision=fp64", "batch.size=100"]
    for _ in range(2):  # a second command in the same job finds the result, on both nodes
        with training(*nodes(*words, "trainer=ddp_cpu")) as runs:
            assert [outcome.reason for outcome in runs.result()] == [None, None]
        assert only_run().status["attempt"] == 1
        assert only_run().status["slurm_step"] == "4711.3.5"
    train(compose([*words, "paths.runs_dir=alone"]))
    torch.testing.assert_close(weights(only_run()), weights(only_run("alone")), rtol=1e-11, atol=1e-11)
    for key in ("opt_steps", "examples", "grad_evals"):
        assert only_run().summary[key] == only_run("alone").summary[key]
    assert "GLOBAL_RANK: 1, MEMBER: 2/2" in (only_run().path / "log-node1.txt").read_text()


@pytest.mark.slow
@TWO
@pytest.mark.parametrize("node", [0, 1])
def test_when_the_rank_of_one_node_dies_the_other_node_ends_too(node):
    with training(*nodes(*ENDLESS, *TROUBLE, "+callbacks.trouble.how=kill", f"+callbacks.trouble.rank={node}")) as runs:
        outcomes = runs.result()
    assert since_death() < 60
    assert [outcome.exit_code for outcome in outcomes] == [1, 1]
    assert f"rank {node} of 2 failed: ended by SIGKILL" in outcomes[node].reason
    assert f"rank {1 - node} of 2 failed: RuntimeError" in outcomes[1 - node].reason  # gloo's: the connection is lost
    assert only_run().status["status"] == "failed"
    assert "rank 0 of 2 failed" in only_run().status["reason"]


@pytest.mark.slow
@TWO
@NEEDS_PROC
def test_nodes_end_together_when_one_of_them_is_asked_to():
    with training(*nodes(*ENDLESS, *TROUBLE)) as runs:
        pids = wait_for_ranks()
        os.kill(only_run().status["pid"], signal.SIGTERM)
        assert [outcome.exit_code for outcome in runs.result()] == [143, 143]
    assert only_run().status["status"] == "preempted"
    wait_for_the_end_of(pids)


# --- what Lightning would do by itself


def test_a_checkpoint_of_lightning_for_slurm_is_never_loaded(monkeypatch):
    """It loads the newest hpc_ckpt of its folder under SLURM, where it is told to begin anew."""
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    train(compose(SMALL))
    folder = only_run()
    expected, rows = weights(folder), [row["opt_step"] for row in folder.rows()]
    status = {**folder.status, "status": "running"}  # as if it had been cut off before it was first saved
    folder.checkpoint("last").rename(folder.path / "hpc_ckpt_1.ckpt")
    shutil.rmtree(folder.path / "checkpoints")
    (folder.path / "status.json").write_text(json.dumps(status))
    train(compose(SMALL))
    assert folder.status["resumed"][0]["opt_step"] == 0
    assert [row["opt_step"] for row in folder.rows()] == rows
    torch.testing.assert_close(weights(folder), expected, rtol=0, atol=0)


def test_batch_norm_over_ranks_needs_gpus():
    for model, words in (("cnn", []), ("mlp", ["model.batch_norm=true"])):
        cfg = compose([f"model={model}", *words, "trainer=ddp_cpu", "devices=1", "trainer.sync_batchnorm=true"])
        settle(cfg)
        with pytest.raises(ConfigError) as caught:
            assemble(cfg)
        assert str(caught.value) == (
            f"trainer.sync_batchnorm=true with model={model} is not possible on cpu, since torch has no such batch "
            "normalisation there; allowed are false, and models without."
        )
    cfg = compose(["model=mlp", "trainer=ddp_cpu", "devices=1", "trainer.sync_batchnorm=true"])
    settle(cfg)
    assemble(cfg)
