"""hydra/launcher=slurm without a cluster: with made-up commands of SLURM. tests/slurm has a real one."""

import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import isolated_jobs as jobs
import pytest
from isolated_jobs import wait_for

from steepest.cli import main
from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.launchers import slurm, slurm_job, slurm_queue, slurm_wait, snapshot
from steepest.launchers.processes import Job, JobFailed, Outcome
from steepest.launchers.slurm_job import SlurmRun
from steepest.runs import commit as commits

TINY = ["model=logistic", "optimizer=sgd", "callbacks=none", "logger=none", "budget.epochs=null", "budget.steps=5"]

SETTINGS = {
    "_target_": "a.Launcher",
    "accelerator": "gpu",
    "gpu_type": None,
    "cpus_per_device": 4,
    "gpus_per_node": None,
    "cpus_per_task": None,
    "partition": None,
    "comment": None,
    "nodes": 1,
    "tasks_per_node": 1,
    "timeout_min": 60,
    "setup": None,
    "additional_parameters": {},
    "verbose": True,
    "submitit_folder": "there",
    "max_num_timeout": 9,
}


def asked(accelerator="gpu", devices=1, **settings):
    return slurm.asks({**SETTINGS, **settings}, {"accelerator": accelerator, "devices": devices}, Path("/a/sweep"))


def test_one_device_count_decides_gpus_and_cores():
    one = asked(devices=1)
    assert (one["gpus_per_node"], one["cpus_per_task"], one["tasks_per_node"]) == (1, 4, 1)
    two = asked(devices=2, gpu_type="a100")
    assert (two["slurm_gres"], two["cpus_per_task"], two["tasks_per_node"]) == ("gpu:a100:2", 8, 1)
    assert "gpus_per_node" not in two
    cpu = asked("cpu", devices=2)
    assert "gpus_per_node" not in cpu
    assert cpu["cpus_per_task"] == 8


def test_what_is_set_wins_and_what_is_null_is_not_asked():
    given = asked(devices=2, gpus_per_node=4, cpus_per_task=3)
    assert (given["gpus_per_node"], given["cpus_per_task"]) == (4, 3)
    assert "gpus_per_node" not in asked(gres="gpu:h200:1")
    assert asked(gres="gpu:h200:1")["slurm_gres"] == "gpu:h200:1"
    assert None not in asked().values()
    assert not {"slurm_partition", "slurm__target_", "slurm_verbose", "slurm_accelerator"} & {*asked()}
    assert asked(partition="long")["slurm_partition"] == "long"
    assert asked(comment="mine")["slurm_comment"] == "mine steepest:/a/sweep"
    assert asked()["slurm_additional_parameters"] == {"requeue": True}
    assert asked(additional_parameters={"requeue": False})["slurm_additional_parameters"] == {"requeue": False}


def submission(number, **asks):
    return slurm.Submission(number, f"r{number}", SlurmRun(Job(jobs.add, [1, 1])), asks)


def test_runs_that_ask_for_the_same_are_one_array_up_to_its_size():
    wanted = [submission(i, nodes=1 + i % 2) for i in range(7)]
    found = [[one.number for one in part] for part in slurm.arrays(wanted, 3)]
    assert found == [[0, 2, 4], [6], [1, 3, 5]]
    assert slurm.arrays([], 3) == []


def test_a_refusal_is_one_sentence_with_what_was_asked_and_what_slurm_says():
    said = "sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid name\n"
    assert slurm.refusal(said, asked(partition="x")) == (
        "hydra/launcher=slurm: SLURM refuses jobs with partition=x, nodes=1, gpus_per_node=1, cpus_per_task=4, "
        "timeout_min=60: invalid partition specified: x; Batch job submission failed: Invalid name; "
        "allowed is what sinfo and your site list."
    )


class Commands:
    """Made-up commands of SLURM: each prints a file of its name and exits with what stands in NAME.rc."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "srun", "squeue", "scontrol", "sacct", "scancel"):
            script = f'#!/bin/sh\ncd {folder}\necho "$@" >> {name}.calls\n[ -f "$1" ] && cat "$1" >> scripts\n'
            script += "env > environment\n"
            script += f"cat {name}.err >&2 2>/dev/null\ncat {name}.out 2>/dev/null\n"
            script += f"exit $(cat {name}.rc 2>/dev/null || echo 0)\n"
            (folder / name).write_text(script)
            (folder / name).chmod(0o755)

    def answer(self, name, out="", err="", rc=0):
        for kind, text in (("out", out), ("err", err), ("rc", str(rc))):
            (self.folder / f"{name}.{kind}").write_text(text)

    def calls(self, name):
        file = self.folder / f"{name}.calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def script(self):
        return (self.folder / "scripts").read_text()


@pytest.fixture
def commands(tmp_path, monkeypatch):
    made = Commands(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{made.folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    slurm_queue.array_size.cache_clear()
    yield made
    slurm_queue.array_size.cache_clear()


def test_the_queue_is_read_task_by_task(commands):
    commands.answer("squeue", "17_0|RUNNING|None|mine steepest:/a|b\n18|PENDING|Priority|(null)\n")
    assert slurm_queue.queue() == {
        "17_0": slurm_queue.Queued("17_0", "RUNNING", "None", "mine steepest:/a|b"),
        "18": slurm_queue.Queued("18", "PENDING", "Priority", "(null)"),
    }
    assert commands.calls("squeue")[0].startswith("--me --array --noheader")
    commands.answer("squeue", err="squeue: error: Unable to contact slurm controller\n", rc=1)
    with pytest.raises(slurm_queue.NoAnswer, match="Unable to contact slurm controller"):
        slurm_queue.queue()
    with pytest.raises(ConfigError, match=r"SLURM does not answer \(squeue: error: Unable to contact"):
        slurm.under_way()


def test_how_a_job_ended_is_asked_of_the_controller_then_of_accounting(commands):
    commands.answer("scontrol", "JobId=17 JobState=FAILED Reason=NonZeroExitCode ExitCode=1:0 DerivedExitCode=0:0\n")
    assert slurm_queue.ended("17") == slurm_queue.Ended("FAILED", 1, 0)
    commands.answer("scontrol", err="slurm_load_jobs error: Invalid job id specified\n", rc=1)
    commands.answer("sacct", "CANCELLED by 1000|0:15\n")
    assert slurm_queue.ended("17") == slurm_queue.Ended("CANCELLED", 0, 15)
    commands.answer("sacct", err="Slurm accounting storage is disabled\n", rc=1)
    assert slurm_queue.ended("17").state == "UNKNOWN"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (slurm_queue.Ended("CANCELLED", 0, 15), "cancelled"),
        (slurm_queue.Ended("TIMEOUT"), "did not save and end within its time limit of 60 min"),
        (slurm_queue.Ended("NODE_FAIL"), "its node failed, and SLURM did not requeue it"),
        (slurm_queue.Ended("OUT_OF_MEMORY"), "ended by SLURM, since its memory ran out"),
        (slurm_queue.Ended("FAILED", 137), "ended by SIGKILL"),
        (slurm_queue.Ended("FAILED", 0, 11), "ended by SIGSEGV"),
        (slurm_queue.Ended("FAILED", 7), "ended with exit code 7 and no result; do its nodes share this folder?"),
        (slurm_queue.Ended("BOOT_FAIL"), "ended by SLURM (BOOT_FAIL)"),
    ],
)
def test_states_of_slurm_in_words(how, said):
    assert slurm_queue.sentence(how, 60) == said


def test_the_size_of_arrays_is_that_of_the_cluster(commands):
    commands.answer("scontrol", "MaxArraySize            = 40\n")
    assert slurm_queue.array_size() == 40
    slurm_queue.array_size.cache_clear()
    commands.answer("scontrol", rc=1)
    assert slurm_queue.array_size() == slurm_queue.ARRAY_SIZE


def submitted(number, tmp_path):
    result = tmp_path / f"17_{number}_0_result.pkl"
    return slurm.Submitted(number, f"r{number}", f"17_{number}", "job.log", "job.out", str(result), 60)


class Cluster:
    """A queue that changes at each look."""

    def __init__(self, monkeypatch, *looks, ends=None):
        self.looks, self.ends = [*looks], ends or {}
        self.clock = 0.0
        monkeypatch.setattr(slurm_queue, "queue", self.queue)
        monkeypatch.setattr(slurm_queue, "ended", lambda job: slurm_queue.Ended(*self.ends[job]))
        monkeypatch.setattr(slurm_wait.time, "sleep", self.sleep)
        monkeypatch.setattr(slurm_wait.time, "monotonic", lambda: self.clock)

    def sleep(self, seconds):
        self.clock += seconds

    def queue(self):
        states = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if callable(states):
            states = states()
        return {job: slurm_queue.Queued(job, *state.split("/"), "") for job, state in states.items()}


def silent(*states):
    return {f"17_{i}": state for i, state in enumerate(states) if state}


def leave(job, kind, value, node=0):
    Path(job.result.replace("_0_result", f"_{node}_result")).write_bytes(pickle.dumps((kind, value)))


def test_jobs_are_waited_for_until_each_has_a_result(tmp_path, monkeypatch):
    zero, one = (submitted(i, tmp_path) for i in range(2))
    heard = []

    def write():
        leave(zero, "success", Outcome(0, 0.5, 3.0, 10.0, None))
        said = "Traceback (most recent call last):\n  ...\nsteepest.errors.ConfigError: batch.size=9 is wrong.\n"
        leave(one, "error", said)
        return silent("COMPLETING/None", "RUNNING/None")

    Cluster(
        monkeypatch,
        silent("PENDING/Priority", "PENDING/Priority"),
        silent("RUNNING/None", "PENDING/Resources"),
        silent("REQUEUED/None", "RUNNING/None"),  # a preemption
        silent("RUNNING/None", "RUNNING/None"),
        write,
    )
    outcomes = slurm_wait.Wait({0: zero, 1: one}, lambda *event: heard.append(event)).run()
    assert outcomes[0] == Outcome(0, 0.5, 3.0, 10.0, None)
    assert (outcomes[1].exit_code, outcomes[1].reason) == (2, "batch.size=9 is wrong.")
    assert heard == [(0, None), (1, None), (0, outcomes[0]), (1, outcomes[1])]


def test_a_job_that_leaves_the_queue_without_a_result_has_failed(tmp_path, monkeypatch):
    three = [submitted(i, tmp_path) for i in range(3)]
    ends = {"17_0": ("CANCELLED", 0, 15), "17_1": ("FAILED", 137, 0), "17_2": ("FAILED", 1, 0)}
    leave(three[2], "error", "...\nsteepest.launchers.processes.JobFailed: ended by SIGSEGV\n", node=1)
    leave(three[2], "success", Outcome(0, None, 0.0, None, None), node=2)
    cluster = Cluster(monkeypatch, silent("RUNNING/None", "RUNNING/None", "RUNNING/None"), {}, ends=ends)
    outcomes = slurm_wait.Wait(dict(enumerate(three)), lambda *_: None).run()
    assert [outcomes[i].reason for i in range(3)] == ["cancelled", "ended by SIGKILL (job.out)", "ended by SIGSEGV"]
    assert cluster.clock >= slurm_wait.FILES_S  # files come late on a network file system


def test_a_job_that_is_back_in_the_queue_or_that_nobody_knows_about_is_waited_for(tmp_path, monkeypatch, capsys):
    job = submitted(0, tmp_path)

    def no_answer():
        raise slurm_queue.NoAnswer("busy")

    def write():
        leave(job, "success", Outcome(0, 1.0, 1.0, 1.0, None))
        return {}

    held = silent("PENDING/launch failed requeued held")
    cluster = Cluster(monkeypatch, silent("RUNNING/None"), {}, no_answer, held, held, write, ends={"17_0": ["PENDING"]})
    assert slurm_wait.Wait({0: job}, lambda *_: None).run()[0].value == 1.0
    assert cluster.clock >= 5
    said = capsys.readouterr().out
    assert said == "job 0 is held (launch failed requeued held): scontrol release 17_0, or scancel 17_0\n"


def test_a_result_that_this_source_cannot_read_is_said_to_be_so(tmp_path):
    job = submitted(0, tmp_path)
    Path(job.result).write_bytes(b"cno_such_module\nThing\n.")
    assert slurm_wait.result_of(job, 0).reason.startswith("its result is by other source")
    assert slurm_wait.result_of(submitted(1, tmp_path), 0) is None


def test_looks_become_rarer():
    assert slurm_wait.pause(0, 3) == 1.0
    assert slurm_wait.pause(600, 3) == 10.0
    assert slurm_wait.pause(0, 2000) == 10.0
    assert slurm_wait.pause(1e6, 1) == 30.0


def test_a_record_is_read_up_to_its_last_whole_line(tmp_path):
    two = [submitted(i, tmp_path) for i in range(2)]
    assert slurm.noted(tmp_path) == []
    slurm.note(tmp_path, two)
    with (tmp_path / slurm.RECORD).open("a") as file:
        file.write('{"number": 2, "ru')
    assert slurm.noted(tmp_path) == two


def test_runs_under_way_are_known_by_the_comments_of_their_jobs(tmp_path, commands):
    sweep = tmp_path / "a sweep"
    sweep.mkdir()
    slurm.note(sweep, [submitted(0, tmp_path), submitted(1, tmp_path)])
    commands.answer("squeue", f"17_1|PENDING|Priority|mine steepest:{sweep}\n19|RUNNING|None|of others\n")
    assert slurm.under_way() == {"r1": submitted(1, tmp_path)}


@pytest.fixture
def signals():
    """Handlers of submitit, which a job finds, and what they have taken."""
    taken = []

    def put_back(number, frame):
        taken.append(number)
        raise SystemExit(-1)

    before = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    signal.signal(signal.SIGUSR2, put_back)
    signal.signal(signal.SIGTERM, lambda *_: None)
    yield taken
    for number, handler in before.items():
        signal.signal(number, handler)


def when(condition, *numbers):
    """Send signals to this process when something is so."""

    def send():
        wait_for(condition)
        for number in numbers:
            os.kill(os.getpid(), number)

    threading.Thread(target=send, daemon=True).start()


def test_a_job_hands_on_what_its_run_returns_or_raises_why_it_failed(signals, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    outcome = SlurmRun(Job(jobs.environment))()
    assert outcome.value["SLURM_JOB_ID"] == "17"
    with pytest.raises(JobFailed, match=r"^ended by SIGKILL"):
        SlurmRun(Job(jobs.die, [signal.SIGKILL]))()
    with pytest.raises(ConfigError):
        SlurmRun(Job(jobs.stop, [2]))()
    assert signals == []


def test_a_warning_lets_the_run_end_and_puts_the_job_back(signals):
    when(lambda: Path("pid").exists() and Path("pid").read_text(), signal.SIGUSR2)
    with pytest.raises(SystemExit) as left:
        SlurmRun(Job(jobs.hang, ["pid", False]))()
    assert left.value.code == -1
    assert signals == [signal.SIGUSR2]


def test_a_job_that_is_told_to_end_waits_for_slurm(signals, monkeypatch, capsys):
    monkeypatch.setattr(slurm_job, "PATIENCE_S", 0.5)
    when(lambda: Path("pid").exists() and Path("pid").read_text(), signal.SIGTERM)
    with pytest.raises(JobFailed, match="by something that is not SLURM"):
        SlurmRun(Job(jobs.hang, ["pid", False]))()
    assert "waiting for SLURM" in capsys.readouterr().out
    assert signals == []


def test_a_further_node_has_a_log_of_its_own_and_leaves_the_queue_to_the_first(signals, monkeypatch):
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setattr(slurm_job, "LAST_S", 0.0)
    with pytest.raises(JobFailed, match="exit code 3"):
        SlurmRun(Job(jobs.stop, [3], log=Path("job-0.log")))()
    assert Path("job-0.node1.log").read_text() == "said before the end\n"
    when(lambda: Path("pid").exists() and Path("pid").read_text(), signal.SIGUSR2)
    assert SlurmRun(Job(jobs.hang, ["pid", False]))().reason is None
    assert signals == []


def test_a_requeued_job_does_the_same():
    run = SlurmRun(Job(jobs.add, [1, 2]), warned=True)
    again = pickle.loads(pickle.dumps(run.checkpoint()))
    assert again.function.job == run.job
    assert again.result().value == 3


def test_a_copy_of_the_code_is_whole_and_made_once(tmp_path):
    code = snapshot.snapshot(tmp_path)
    assert code == tmp_path / "code"
    ask = "import steepest.config as c, hydra_plugins.steepest_slurm as p; print(c.__file__, c.conf_dir(), p.__file__)"
    here = {**os.environ, "PYTHONPATH": str(code)}
    done = subprocess.run([sys.executable, "-c", ask], env=here, capture_output=True, text=True, timeout=60)
    found = done.stdout.split()
    assert found == [
        f"{code}/{name}" for name in ("steepest/config.py", "steepest/conf", "hydra_plugins/steepest_slurm.py")
    ]
    assert {path.name for path in (code / "steepest" / "conf").iterdir()} >= {"config.yaml", "optimizer", "hydra"}
    before = (code / "steepest" / "config.py").stat().st_mtime_ns
    assert snapshot.snapshot(tmp_path) == code
    assert (code / "steepest" / "config.py").stat().st_mtime_ns == before
    (code / "steepest" / "config.py").write_text("# other code\n")
    assert snapshot.snapshot(tmp_path) == tmp_path / "code-2"
    assert sorted(path.name for path in tmp_path.glob("*code*")) == ["code", "code-2"]


def test_a_copy_names_its_commit_and_what_is_not_committed(tmp_path, monkeypatch):
    checkout = tmp_path / "checkout"
    (checkout / "conf").mkdir(parents=True)
    (checkout / "conf" / "a.yaml").write_text("x: 1\n")
    me = ["-c", "user.name=me", "-c", "user.email=me@example.org"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    monkeypatch.setattr(snapshot, "conf_dir", lambda: checkout / "conf")
    clean = snapshot.snapshot(tmp_path / "clean")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True).stdout
    assert (clean / "commit.txt").read_text() == head
    assert not (clean / "dirty.diff").exists()
    (checkout / "conf" / "a.yaml").write_text("x: 2\n")
    (checkout / "conf" / "b.yaml").write_text("new\n")
    dirty = (snapshot.snapshot(tmp_path / "dirty") / "dirty.diff").read_text()
    assert dirty.startswith("# untracked: conf/b.yaml\ndiff --git")
    assert "-x: 1\n+x: 2\n" in dirty
    for place, said in ((clean, head.strip()), (tmp_path / "dirty" / "code", f"{head.strip()}-dirty")):
        monkeypatch.setattr(commits, "PACKAGE", place / "steepest")
        commits.commit.cache_clear()
        assert commits.commit() == said
    commits.commit.cache_clear()


def sweep(*words):
    return main(["train", "-m", "hydra/launcher=slurm", *TINY, "hydra.sweep.dir=sweep", *words])


@pytest.fixture
def typed(commands, monkeypatch):
    """A command line, on a cluster that takes all jobs and cancels them."""
    monkeypatch.setattr(sys, "argv", ["train.py"])
    commands.answer("sbatch", "Submitted batch job 17\n")
    commands.answer("scontrol", "JobState=CANCELLED ExitCode=0:15 MaxArraySize = 1001\n")
    return sweep


def test_a_sweep_is_one_array_whose_script_says_all(typed, commands, capsys):
    limits = [
        "hydra.launcher.partition=gpu",
        "hydra.launcher.setup=[module load cuda]",
        "hydra.launcher.mem_per_cpu=2G",
    ]
    assert typed("seed=0,1", "threads=3", *limits) == 1
    said = capsys.readouterr()
    assert "2 submitted to SLURM: 17" in said.out
    assert "job 0 (seed=0): failed: cancelled" in said.out
    assert said.err.splitlines()[-1].startswith("steepest: cancelled (job 0: ")
    assert len(commands.calls("sbatch")) == 1
    script = commands.script
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", script, re.MULTILINE))
    place = Path("sweep").absolute()
    expected = {
        "array": "0-1%2",
        "partition": "gpu",
        "nodes": "1",
        "ntasks-per-node": "1",
        "cpus-per-task": "1",
        "mem-per-cpu": "2G",
        "time": "240",
        "signal": "USR2@120",
        "requeue": "",
        "job-name": "steepest",
        "comment": f"steepest:{place}",
        "open-mode": "append",
    }
    assert options | expected == options
    assert "gpus-per-node" not in options
    setup = script[script.index("# setup") : script.index("# command")].splitlines()
    assert setup[1:4] == [
        "module load cuda",
        f"export PYTHONPATH='{place}/code'${{PYTHONPATH:+:$PYTHONPATH}}",
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
    ]
    assert "srun --unbuffered" in script
    assert "--kill-on-bad-exit=1" in script
    records = [json.loads(line) for line in (place / "slurm.jsonl").read_text().splitlines()]
    assert [(record["number"], record["job_id"]) for record in records] == [(0, "17_0"), (1, "17_1")]
    ledger = [json.loads(line) for line in (place / "jobs.jsonl").read_text().splitlines()]
    assert [record["run_id"] for record in records] == [line["run_id"] for line in ledger if "run_id" in line]

    import submitit

    call = submitit.core.utils.DelayedSubmission.load(place / ".submitit" / "17_1_submitted.pkl").function
    words, own = call.job.arguments
    assert {"seed=1", "threads=3", "trainer.accelerator=cpu"} <= {*words}
    assert not any("launcher" in word or "sweep" in word for word in words)
    assert call.job.log == place / "job-1.log"
    assert "hydra.job.num=1" in own


@pytest.mark.parametrize(
    "words",
    [
        ["trainer=ddp_cpu", "trainer.devices=1,2", "seed=0", "optimizer.lr=0.1"],
        ["hydra.launcher.partition=long", "hydra.launcher.timeout_min=90", "name='a b'", "validation.every=2,3"],
    ],
)
def test_what_a_sweep_says_of_all_jobs_is_what_each_composed_for_itself_says(typed, monkeypatch, words):
    seen = []

    def submit(wanted, *_):
        seen.append(wanted)
        raise ConfigError("seen")

    monkeypatch.setattr(slurm, "submit", submit)
    assert typed(*words) == 2
    shutil.rmtree("sweep")
    assert typed(*words, "hydra.sweep.subdir=${hydra.job.id}/..") == 2
    quick, composed = seen
    assert len(quick) == 2
    for one, other in zip(quick, composed, strict=True):
        assert (one.number, one.run_id, one.asks) == (other.number, other.run_id, other.asks)
        assert one.call.job.arguments[0] == other.call.job.arguments[0]
        assert one.call.job.arguments[1][1:] == other.call.job.arguments[1][1:]
    assert composed[1].call.job.arguments[1][0].endswith("/1/..'")


def test_a_driver_that_is_a_job_itself_submits_as_if_it_were_none(typed, commands, monkeypatch):
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SBATCH_PARTITION", "SLURM_CONF"):
        monkeypatch.setenv(name, "1")
    commands.answer("sbatch", err="sbatch: error: no\n", rc=1)  # its environment is the last one that is kept
    monkeypatch.setattr(slurm_queue, "cancel", lambda jobs: None)
    assert typed("seed=0") == 2
    here = {line.partition("=")[0] for line in (commands.folder / "environment").read_text().splitlines()}
    assert "SLURM_CONF" in here
    assert not {"SLURM_JOB_ID", "SLURM_NTASKS", "SBATCH_PARTITION"} & here
    assert os.environ["SLURM_NTASKS"] == "1"


def test_a_run_that_waits_in_the_queue_is_not_submitted_again(typed, commands, capsys):
    assert typed("seed=0,1") == 1
    commands.answer("squeue", f"17_1|PENDING|None|steepest:{Path('sweep').absolute()}\n")
    job = slurm.noted(Path("sweep"))[1]
    leave(job, "success", Outcome(0, 0.25, 3.0, 10.0, None))  # it ends while it is waited for
    assert typed("seed=1,2", "hydra.sweep.dir=other") == 1
    said = capsys.readouterr().out
    assert "1 submitted to SLURM; 1 were submitted before: 17" in said
    assert "(seed=1): finished, 0.25" in said
    assert len(commands.calls("sbatch")) == 2
    noted = slurm.noted(Path("other"))
    assert noted[0] == replace(job, number=0)
    assert noted[1].job_id == "17"  # no array of one


def test_ctrl_c_says_what_becomes_of_the_jobs(typed, commands, capsys, monkeypatch):
    commands.answer("squeue", f"17_0|RUNNING|None|steepest:{Path('elsewhere').absolute()}\n17_1|PENDING|None|\n")

    def interrupted(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(slurm_wait, "pause", lambda *_: interrupted(0))
    assert typed("seed=0,1") == 130
    said = capsys.readouterr().err
    assert f"python scripts/status.py {Path('sweep').absolute()}" in said
    assert "scancel 17\n" in said
    assert commands.calls("scancel") == []


def test_what_slurm_refuses_is_a_sentence_and_nothing_stays_submitted(typed, commands, capsys):
    commands.answer("sbatch", err="sbatch: error: invalid partition specified: nowhere\n", rc=1)
    assert typed("seed=0,1", "hydra.launcher.partition=nowhere") == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("steepest: hydra/launcher=slurm: SLURM refuses jobs with partition=nowhere, nodes=1")
    assert "invalid partition specified: nowhere" in line
    assert not Path("sweep/slurm.jsonl").exists() or not slurm.noted(Path("sweep"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hydra.launcher.accelerator=tpu"], "hydra.launcher.accelerator=tpu is not possible; allowed is cpu or gpu."),
        (["hydra.launcher.cpus_per_device=0"], "hydra.launcher.cpus_per_device=0 is not possible"),
        (["hydra.launcher.tasks_per_node=2"], "hydra.launcher.tasks_per_node=2 is not possible; allowed is 1"),
        (
            ["hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=61"],
            "hydra.launcher.signal_delay_s=61 is not possible; allowed is 1 to 60, half of timeout_min.",
        ),
        (["hydra.launcher.jobs=2"], "hydra.launcher.jobs is unknown"),
    ],
)
def test_a_mistake_is_one_sentence_before_anything_is_submitted(typed, commands, capsys, words, said):
    assert typed("seed=0,1", *words) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"steepest: {said}")
    assert commands.calls("sbatch") == []


def test_without_slurm_it_is_said_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("PATH", "/nowhere")
    assert sweep("seed=0,1") == 2
    assert "needs SLURM's sbatch and srun on the PATH" in capsys.readouterr().err


def test_a_launcher_gives_the_device_and_the_threads():
    from hydra_plugins.steepest_slurm import SlurmLauncher

    def given(*words, **settings):
        launcher = SlurmLauncher(**{"cpus_per_device": 4, "cpus_per_task": None, "accelerator": "gpu", **settings})
        return launcher.given(compose([*TINY, *words]))

    assert given("trainer=auto") == ["trainer.accelerator=gpu", "threads=4"]
    assert given("trainer=auto", accelerator="cpu") == ["trainer.accelerator=cpu", "threads=4"]
    assert given("trainer=ddp_cpu", "trainer.devices=2") == ["threads=4"]  # of each rank
    assert given("trainer=cpu", cpus_per_task=6) == ["threads=6"]
    assert given("trainer=cpu", "threads=1") == []


@pytest.mark.parametrize("profile", sorted(path.stem for path in conf_dir().glob("hydra/launcher/slurm*.yaml")))
def test_every_profile_is_complete(profile):
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = [f"hydra/launcher={profile}", "trainer.devices=2", "trainer.num_nodes=3"]
        cfg = hydra_compose("config", words, return_hydra_config=True)
    cfg.hydra.sweep.dir = "sweep"
    settings = OmegaConf.to_container(cfg.hydra.launcher, resolve=True)
    settings["setup"] = slurm.exports(Path("/it's here"))
    asked = slurm.asks(settings, {"accelerator": settings["accelerator"], "devices": 2}, Path("/a"))
    assert asked["nodes"] == 3
    import submitit

    executor = submitit.AutoExecutor(folder="jobs", cluster="debug", slurm_max_num_timeout=1)
    executor.update_parameters(**asked)  # raises at a name that submitit does not know
    assert settings["signal_delay_s"] < 30 * settings["timeout_min"]
