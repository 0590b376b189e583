"""Jobs in processes of their own, and sweeps of them: what one does, none of the others feels."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import isolated_jobs as jobs
import pytest
import torch
from isolated_jobs import wait_for

from steepest.config import conf_dir
from steepest.launchers import processes
from steepest.launchers.lines import JobLines, distinct, duration
from steepest.launchers.processes import CannotStart, Job, Outcome, run_jobs

TRAIN = conf_dir().parent / "train.py"
needs_checkout = pytest.mark.skipif(not TRAIN.is_file(), reason="needs the checkout's train.py")
TINY = ["model=logistic", "callbacks=none", "logger=none", "threads=1", "budget.steps=20"]
NEEDS_PROC = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
FOREIGN = ["RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "SLURM_NTASKS", "PL_X"]


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_the_end_of(pids):
    wait_for(lambda: not any(map(lives, pids)))


def test_jobs_return_in_order_and_each_has_a_process_and_a_session_of_its_own():
    outcomes = run_jobs([*[Job(jobs.who)] * 3, Job(jobs.add, [1, 2])], n_jobs=2)
    assert outcomes[3].value == 3
    pids = {outcome.value[0] for outcome in outcomes[:3]}
    assert len(pids) == 3
    assert os.getpid() not in pids
    for outcome in outcomes[:3]:
        pid, session, group, daemon = outcome.value
        assert pid == session == group
        assert not daemon  # loaders may have workers
        assert (outcome.exit_code, outcome.reason) == (0, None)
        assert 0 < outcome.seconds < 60
        assert 10 < outcome.memory_mb < 10_000
    assert run_jobs([]) == []


def test_n_jobs_run_at_a_time_and_no_more():
    together = [Job(jobs.meet, ["a", "b"]), Job(jobs.meet, ["b", "a"])]
    assert [outcome.reason for outcome in run_jobs(together, n_jobs=2)] == [None, None]
    assert [outcome.value for outcome in run_jobs([Job(jobs.be_alone, ["place"])] * 3, n_jobs=1)] == [True] * 3


def test_what_ends_a_job_is_recorded_and_the_others_go_on(tmp_path):
    log = tmp_path / "deeper" / "log.txt"
    ends = [
        (jobs.leave, [7], 7, "exit code 7"),
        (jobs.leave, [0], 0, "exit code 0 without a result"),
        (jobs.die, [signal.SIGKILL], -signal.SIGKILL, "ended by SIGKILL, as the system does when memory runs out"),
        (jobs.die, [signal.SIGSEGV], -signal.SIGSEGV, "ended by SIGSEGV"),
        (jobs.fail, ["no\nsuch luck"], 1, "ValueError: no such luck"),
        (jobs.no_pickle, [], 1, "pickle"),
        (jobs.stop, [3], 3, "exit code 3: said before the end"),
        (jobs.stop, ["a sentence"], 1, "exit code 1: a sentence"),
        (jobs.stop, [None], 0, None),
        (jobs.add, [2, 2], 0, None),
    ]
    given = [
        Job(function, arguments, log=log.with_name(f"{i}.txt")) for i, (function, arguments, *_) in enumerate(ends)
    ]
    heard = []
    outcomes = run_jobs(given, n_jobs=2, on_event=lambda index, outcome: heard.append((index, outcome)))
    for outcome, (*_, code, reason) in zip(outcomes, ends, strict=True):
        assert outcome.exit_code == code
        assert outcome.reason == reason if reason != "pickle" else "pickle" in outcome.reason
    assert outcomes[-1].value == 4
    assert "raise ValueError(text)" in log.with_name("4.txt").read_text()
    assert "Segmentation fault" in log.with_name("3.txt").read_text()
    assert sorted(index for index, outcome in heard if outcome is None) == list(range(len(ends)))
    assert {index: outcome for index, outcome in heard if outcome} == dict(enumerate(outcomes))
    assert all(heard.index((index, None)) < heard.index((index, outcome)) for index, outcome in enumerate(outcomes))


@NEEDS_PROC
def test_a_job_that_hangs_is_told_then_ended_with_all_that_it_started():
    hanging = [Job(jobs.hang, [f"{ignore}.pid", ignore]) for ignore in (False, True)]
    mild, hard = run_jobs(hanging, n_jobs=2, timeout_s=1.0, grace_s=0.3)
    assert (mild.exit_code, hard.exit_code) == (-signal.SIGTERM, -signal.SIGKILL)
    assert mild.reason == hard.reason == "not done after 1 s"
    assert mild.seconds >= 1.0
    assert hard.seconds >= 1.3
    for ignore in (False, True):
        wait_for_the_end_of([int(Path(f"{ignore}.pid").read_text())])


def test_nothing_of_a_job_is_left_to_the_next():
    before, _, after = run_jobs([Job(jobs.state), Job(jobs.spoil), Job(jobs.state)], n_jobs=1)
    assert before.reason is None
    assert after.value == before.value
    draws = [outcome.value for outcome in run_jobs([Job(jobs.numpy_draw)] * 2)]
    assert draws[0] != draws[1]  # as in new processes: not both go on from the server's state


def test_a_job_has_the_environment_of_this_process_without_the_group_it_may_be_of(monkeypatch):
    for name in FOREIGN:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SET_AFTER_THE_SERVER", "yes")
    [outcome] = run_jobs([Job(jobs.environment)])
    assert not set(FOREIGN) & set(outcome.value)
    assert outcome.value["SET_AFTER_THE_SERVER"] == "yes"
    assert outcome.value["PATH"] == os.environ["PATH"]


def test_gpus_are_dealt_out_to_those_that_run_at_once(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert processes.gpus() == ["3", "5"]
    pair = [Job(jobs.meet, ["a", "b"]), Job(jobs.meet, ["b", "a"])]
    assert {outcome.value for outcome in run_jobs(pair)} == {"3", "5"}
    sizes = [Job(jobs.environment, gpus=count) for count in (0, 1, 2, 3)]
    seen = [outcome.value["CUDA_VISIBLE_DEVICES"] for outcome in run_jobs(sizes, n_jobs=1)]
    assert seen == ["", "3", "3,5", "3,5"]
    for none in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert processes.gpus() == []


def test_threads_and_folder_are_the_jobs(tmp_path):
    (tmp_path / "there").mkdir()
    [two, three] = run_jobs([Job(jobs.threads, threads=2), Job(jobs.threads, threads=3)])
    assert (two.value, three.value) == (2, 3)
    [state] = run_jobs([Job(jobs.state, folder=Path("there"))])
    assert state.value["cwd"] == str(tmp_path / "there")


def test_what_a_job_prints_is_in_its_file_only(capfd):
    run_jobs([Job(jobs.talk, log=Path("log.txt"))] * 2, n_jobs=1)
    assert Path("log.txt").read_text() == "from Python\nto the error stream\nfrom a child\n" * 2
    assert capfd.readouterr() == ("", "")


def test_the_largest_memory_is_measured():
    idle, full = run_jobs([Job(jobs.use_memory, [0]), Job(jobs.use_memory, [300])], n_jobs=1)
    assert 250 < full.memory_mb - idle.memory_mb < 700


def test_a_server_that_cannot_import_is_an_error(monkeypatch):
    monkeypatch.setattr(processes, "PRELOAD", ("no_such_module",))
    with pytest.raises(CannotStart, match="No module named 'no_such_module'"):
        run_jobs([Job(jobs.who)] * 2, n_jobs=2)


@pytest.mark.slow
def test_a_server_that_dies_is_started_again():
    first, second = run_jobs([Job(jobs.kill_the_server), Job(jobs.add, [1, 1])], n_jobs=1)
    assert first.reason == "exit code 255"
    assert first.seconds < 30
    assert second.value == 2


@pytest.mark.slow
def test_a_server_that_cannot_stay_alive_is_an_error():
    """In a process of its own: the server would stay as it is for the tests that follow."""
    Path("breaks_the_server.py").write_text("import os\nos._exit(1)\n")
    ask = "from steepest.launchers import processes, server; import math; server.PRELOAD = ('breaks_the_server',)\n"
    ask += "processes.run_jobs([processes.Job(math.sqrt, [4.0])])"
    here = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, env=here)
    assert "CannotStart: the server of processes ends" in done.stderr.splitlines()[-1]


def test_jobs_run_in_another_thread_too():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        [outcome] = pool.submit(run_jobs, [Job(jobs.add, [1, 1])]).result()
    assert outcome.value == 2


@pytest.mark.parametrize("broken", [KeyboardInterrupt, ZeroDivisionError])
@NEEDS_PROC
def test_an_exception_here_leaves_no_job_behind(broken):
    def listener(index, outcome):
        if index == 1:
            wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
            raise broken

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(broken):
        run_jobs([Job(jobs.hang, ["pid", True]), Job(jobs.who)], n_jobs=2, on_event=listener)
    assert signal.getsignal(signal.SIGINT) is before
    wait_for_the_end_of([int(Path("pid").read_text())])


def test_lines_tell_what_became_of_each_job(capsys):
    names = distinct(4, [["seed=0", "lr=1"], ["seed=1", "lr=1"], ["seed=2", "lr=1"]])
    assert names == ["job 4 (seed=0)", "job 5 (seed=1)", "job 6 (seed=2)"]
    assert distinct(0, [["seed=0"]]) == ["job 0 (seed=0)"]
    assert distinct(0, [["seed=0"], ["seed=0"]]) == ["job 0", "job 1"]
    lines = JobLines(names, [Path(f"{i}.log") for i in range(3)])
    lines(0, None)
    lines(1, Outcome(0, 0.87654, 1.2, 100.0, None))
    lines(0, Outcome(0, float("nan"), 250.0, 100.0, None))
    lines(2, Outcome(2, None, 0.2, 100.0, "exit code 2: steepest: seed=x is not possible."))
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("[1/3] job 5 (seed=1): finished, 0.8765, 1.2 s, about ")
    assert said[1].startswith("[2/3] job 4 (seed=0): diverged, 4 min, about ")
    assert said[2] == "[3/3] job 6 (seed=2): failed: seed=x is not possible (see 2.log), 0.2 s"
    assert [duration(seconds) for seconds in (9.46, 9.96, 99.4, 3600, 36000)] == [
        "9.5 s",
        "10 s",
        "99 s",
        "60 min",
        "10.0 h",
    ]


def command(*words):
    return [sys.executable, str(TRAIN), "-m", "hydra/sweeper=basic", "hydra/launcher=isolated", *TINY, *words]


def typed(*words, program=None):
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.run(program or command(*words), capture_output=True, text=True, timeout=180, env=here)


def statuses():
    return sorted(json.loads(path.read_text())["status"] for path in Path("runs").glob("r*/status.json"))


def weights(folder):
    """The SHA-256 of the weights of a run's last checkpoint."""
    state = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].numpy().tobytes())
    return digest.hexdigest()


@needs_checkout
def test_a_run_is_the_same_alone_and_in_a_sweep_bit_for_bit():
    done = typed("optimizer=adam", "seed=0,1", "model=cnn", "hydra.launcher.n_jobs=2")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "2 jobs, 2 at a time"
    assert len(lines) == 3
    assert {line.partition(":")[0].partition(" ")[2] for line in lines[1:]} == {"job 0 (seed=0)", "job 1 (seed=1)"}
    alone = [sys.executable, str(TRAIN), *TINY, "optimizer=adam", "seed=1", "model=cnn", "paths.runs_dir=alone"]
    assert typed(program=alone).returncode == 0
    [folder] = Path("alone").iterdir()
    twin = Path("runs") / folder.name  # the same id
    assert weights(twin) == weights(folder)
    record = json.loads((twin / "status.json").read_text())["command"]
    assert " -m steepest.cli train " in record  # what does the same alone
    assert {"seed=1", "model=cnn", "threads=1"} < set(record.split())


@needs_checkout
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lrr=1,2"], "optimizer.lrr is unknown; did you mean optimizer.lr?"),
        (
            ["hydra.launcher.n_jobs=0"],
            "hydra.launcher.n_jobs=0 is not possible; allowed is an integer from 1, or null.",
        ),
        (["hydra.launcher.timeout_s=x"], "hydra.launcher.timeout_s=x is not possible; allowed is a number above 0"),
        (["hydra.launcher.grace_s=null"], "hydra.launcher.grace_s=null is not possible; allowed is a number above 0."),
        (["hydra.launcher.jobs=2"], "hydra.launcher.jobs is unknown"),
    ],
)
def test_a_mistake_is_one_sentence_before_any_job(words, said):
    done = typed("seed=0,1", *words, program=[sys.executable, "-X", "importtime", *command("seed=0,1", *words)[1:]])
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert line.startswith(f"steepest: {said}")
    assert "| torch\n" not in done.stderr
    assert done.stdout == ""


TROUBLE = ["callbacks=default", "+callbacks.trouble._target_=isolated_jobs.Trouble", "+callbacks.trouble.seed=${seed}"]
TROUBLE += ["--allow-target", "isolated_jobs"]


@needs_checkout
@pytest.mark.slow
def test_jobs_that_die_are_named_and_the_rest_of_the_sweep_is_done():
    ends = "+callbacks.trouble.ends={1:exit,2:kill,3:hang}"
    limits = ["hydra.launcher.n_jobs=2", "hydra.launcher.timeout_s=15", "hydra.launcher.grace_s=0.5"]
    done = typed(*TROUBLE, ends, *limits, "seed=0,1,2,3,4", "hydra.sweep.dir=sweep")
    assert done.returncode not in (0, 2)
    last = {line.partition("] ")[2][:5]: line for line in done.stdout.splitlines()[1:]}
    assert len(last) == 5
    assert "finished" in last["job 0"]
    assert "finished" in last["job 4"]
    for number, reason in [(1, "exit code 9"), (2, "ended by SIGKILL"), (3, "not done after 15 s")]:
        assert f"failed: {reason}" in last[f"job {number}"]
        assert f"sweep/job-{number}.log" in last[f"job {number}"]
    assert "exit code 9" in done.stderr.splitlines()[-1]
    assert "job 1: " in done.stderr.splitlines()[-1]
    assert "sweep/job-1.log" in done.stderr.splitlines()[-1]
    assert statuses().count("finished") == 2


@needs_checkout
@pytest.mark.slow
def test_a_mistake_in_one_job_and_a_divergence_do_not_stop_the_others():
    words = ["batch.size=32,9999", "optimizer=sgd", "optimizer.lr=0.1,1e30", "model=mlp"]
    done = typed(*words, "hydra.launcher.verbose=false")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("steepest: batch.size=9999 exceeds the training set")
    assert statuses() == ["diverged", "finished"]


@pytest.fixture
def started():
    """Start a sweep as a shell does, and leave nothing of it."""
    processes = []

    def start(*words):
        process = subprocess.Popen(
            command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's & ignores it
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        for pid in living():
            os.kill(pid, signal.SIGKILL)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def living():
    """The processes of the runs in this folder that live."""
    return [pid for path in Path("runs").glob("r*/status.json") if lives(pid := json.loads(path.read_text())["pid"])]


def wait_for_training(count):
    wait_for(lambda: sum(path.stat().st_size > 0 for path in Path("runs").glob("r*/metrics.jsonl")) == count)
    pids = living()
    assert len(pids) == count
    return pids


ENDLESS = [
    "budget.steps=1000000000",
    "budget.epochs=null",
    "seed=0,1,2",
    "hydra.launcher.n_jobs=2",
    "validation.every=1000000",
]


@needs_checkout
@NEEDS_PROC
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_lets_runs_save_and_begins_no_more(started, number, code):
    process = started(*ENDLESS)
    pids = wait_for_training(2)
    # Ctrl-C of a terminal goes to the server too.
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert statuses() == ["preempted", "preempted"]
    assert len(list(Path("runs").glob("r*/checkpoints/last.ckpt"))) == 2
    assert ("Ctrl-C again stops at once" in errors) == (number == signal.SIGINT)
    assert "Traceback" not in errors
    assert said.count("asked to end") == 2
    wait_for_the_end_of(pids)


@needs_checkout
@NEEDS_PROC
@pytest.mark.slow
def test_a_second_ctrl_c_ends_all_at_once(started):
    process = started(*TROUBLE, "+callbacks.trouble.ends={0:hang,1:hang}", "seed=0,1,2", "hydra.launcher.n_jobs=2")
    wait_for(lambda: len(list(Path().glob("hangs-*"))) == 2)
    pids = living()
    assert len(pids) == 2
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr.readline() == "\n"
    assert "Ctrl-C again stops at once" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    wait_for_the_end_of(pids)
    assert len(statuses()) == 2


@needs_checkout
@pytest.mark.slow
def test_ctrl_c_while_the_server_still_imports_ends_the_sweep(started):
    process = started(*ENDLESS)
    assert process.stdout.readline() == "3 jobs, 2 at a time\n"
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert (said, errors) == ("", "")
    assert not living()


@needs_checkout
@NEEDS_PROC
@pytest.mark.slow
def test_runs_save_and_end_when_the_sweep_is_killed(started):
    process = started(*ENDLESS)
    pids = wait_for_training(2)
    process.kill()
    wait_for_the_end_of(pids)
    assert statuses() == ["preempted", "preempted"]
    assert len(list(Path("runs").glob("r*/checkpoints/last.ckpt"))) == 2


LAUNCHES = """
import sys
from multiprocessing import forkserver
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from steepest.config import conf_dir

hydra = Hydra.create_main_hydra2(task_name="task", config_search_path=create_config_search_path(str(conf_dir())))
cfg = hydra.compose_config("config", sys.argv[1:], run_mode=RunMode.MULTIRUN)
context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(cfg))
launcher = Plugins.instance().instantiate_launcher(hydra_context=context, task_function=None, config=cfg)
task = list(cfg.hydra.overrides.task)
first = launcher.launch([[*task, "seed=0"], [*task, "seed=0", "optimizer.lr=1e30"]], 0)
server = forkserver._forkserver._forkserver_pid
second = launcher.launch([[*task, "seed=1", "threads=1"], [*task, "batch.size=9999"]], initial_job_idx=2)
assert server == forkserver._forkserver._forkserver_pid
for job in [*first, *second]:
    own = job.overrides[len(task):]
    print(job.hydra_cfg.hydra.job.num, job.status.name, own, job._return_value, job.cfg.threads, "hydra" in job.cfg)
print(first[0].hydra_cfg.hydra.runtime.output_dir)
"""


@needs_checkout
@pytest.mark.slow
def test_a_launcher_launches_again_with_the_same_server_and_says_what_came():
    words = ["model=mlp", "callbacks=none", "logger=none", "budget.steps=5", "optimizer=sgd", "hydra/launcher=isolated"]
    words += ["hydra.launcher.verbose=false", "hydra.launcher.n_jobs=1", "hydra.sweep.dir='it\\'s, here'"]
    words += ["hydra.sweep.subdir=s${hydra:job.num}"]
    done = typed(program=[sys.executable, "-c", LAUNCHES, *words])
    assert done.returncode == 0, done.stderr
    one, two, three, four, place = done.stdout.splitlines()
    share = processes.cores()
    assert one.startswith(f"0 COMPLETED ['seed=0', 'threads={share}'] 0.")
    assert one.endswith(f" {share} False")
    assert two == f"1 COMPLETED ['seed=0', 'optimizer.lr=1e30', 'threads={share}'] nan {share} False"
    assert three.startswith("2 COMPLETED ['seed=1', 'threads=1'] 0.")
    assert four.startswith("3 FAILED")
    assert "batch.size=9999 exceeds the training set" in four
    sweep = Path("it's, here")
    assert place == str((sweep / "s0").absolute())
    assert {path.name for path in sweep.iterdir()} >= {
        *(f"job-{n}.log" for n in range(4)),
        *(f"s{n}" for n in range(4)),
    }
    assert statuses() == ["diverged", "finished", "finished"]
