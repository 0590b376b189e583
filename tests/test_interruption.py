"""Ctrl-C, SIGTERM, and two runs at once in a folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from steepest.callbacks.interruption import Interruption
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.runs.folder import RunFolder
from steepest.runs.lock import is_held, lock
from steepest.tasks.classification import Classification
from steepest.train import train

WORDS = ["callbacks=none", "logger=none", "threads=1", "dataset=digits", "model=logistic"]
WORDS += ["budget={steps:12,epochs:null}", "validation.every=6"]


def folder():
    [path] = Path("runs").iterdir()
    return RunFolder(path)


def weights(run):
    return torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]


@pytest.fixture
def sending(monkeypatch):
    """Send signals to this process in the n-th call of a method of the task."""

    def send(*signals, method="loss", call=4):
        original = getattr(Classification, method)
        calls = []

        def interrupted(self, *args):
            calls.append(1)
            if len(calls) == call:
                for number in signals:
                    signal.raise_signal(number)
            return original(self, *args)

        monkeypatch.setattr(Classification, method, interrupted)

    return send


@pytest.mark.parametrize(("number", "code", "reason"), [("SIGINT", 130, "keyboard"), ("SIGTERM", 143, "outside")])
def test_a_signal_saves_at_the_end_of_the_step_and_the_run_goes_on_from_there(sending, capfd, number, code, reason):
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}
    sending(signal.Signals[number])
    with pytest.raises(SystemExit) as stop:
        train(compose(WORDS))
    assert stop.value.code == code
    assert {name: signal.getsignal(name) for name in before} == before
    status = folder().status
    assert status["status"] == folder().summary["status"] == "preempted"
    assert reason in status["reason"]
    assert folder().summary["opt_steps"] == 4
    assert folder().summary["headline"]["value"] is None
    output = capfd.readouterr()
    assert "preempted" in output.out
    assert ("Ctrl-C again stops at once" in output.err) == (number == "SIGINT")
    train(compose(WORDS))
    assert "goes on after step 4" in capfd.readouterr().out
    assert folder().status["status"] == "finished"
    assert [entry["opt_step"] for entry in folder().status["resumed"]] == [4]
    once = weights(folder())
    train(compose([*WORDS, "force=true"]))
    assert all(torch.equal(value, once[name]) for name, value in weights(folder()).items())


def test_a_second_ctrl_c_stops_at_once(sending):
    sending(signal.SIGINT, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(compose(WORDS))
    assert folder().status["status"] == "preempted"
    assert "at once" in folder().status["reason"]
    assert not folder().checkpoint("last").exists()


def test_a_second_sigterm_does_not(sending):
    sending(signal.SIGTERM, signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        train(compose(WORDS))
    assert stop.value.code == 143
    assert folder().checkpoint("last").exists()


@pytest.mark.parametrize(("method", "step"), [("validation_step", 6), ("test_step", 12)])
def test_an_evaluation_is_left_and_the_step_before_it_is_saved(sending, method, step):
    sending(signal.SIGTERM, method=method, call=1)
    with pytest.raises(SystemExit) as stop:
        train(compose(WORDS))
    assert stop.value.code == 143
    train(compose(WORDS))
    assert [entry["opt_step"] for entry in folder().status["resumed"]] == [step]
    steps = [json.loads(line)["opt_step"] for line in folder().metrics_file.read_text().splitlines() if "val/" in line]
    assert steps == [6, 12]


def test_a_signal_between_two_micro_batches_waits_for_the_step(sending):
    sending(signal.SIGTERM, call=6)
    with pytest.raises(SystemExit):
        train(compose([*WORDS, "batch=large", "batch.size=128", "batch.micro_size=32"]))
    assert folder().summary["opt_steps"] == 2


def test_a_loader_worker_leaves_ctrl_c_to_the_run_and_ends_when_it_is_terminated(capfd):
    interruption = Interruption()
    codes = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        child = os.fork()
        if not child:
            interruption.handle(number, None)
            os._exit(0)
        codes[number] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert codes == {signal.SIGINT: 0, signal.SIGTERM: 143}
    assert capfd.readouterr().err == ""
    assert interruption.signal is None


def test_a_signal_before_training_begins_ends_the_run_as_preempted(monkeypatch):
    monkeypatch.setattr("steepest.train.fit", lambda *_: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit) as stop:
        train(compose(WORDS))
    assert stop.value.code == 143
    assert folder().status["status"] == "preempted"


HOLD = """
import pathlib, sys
from steepest.runs.lock import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other():
    """A process that holds a lock until it is told to let go, or dies."""
    started = []

    def start(path):
        command = [sys.executable, "-c", HOLD, str(path)]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert started[0].stdout.readline() == "held\n"
        return started[0]

    yield start
    for process in started:
        process.communicate()


def test_two_runs_at_once_in_a_folder_are_refused_until_the_first_is_dead(other):
    train(compose(WORDS))
    path = folder().path
    process = other(path / "lock")
    assert folder().running
    with pytest.raises(ConfigError, match=rf"{path} is in use by process {process.pid} on .*; allowed is one run"):
        train(compose([*WORDS, "force=true"]))
    assert folder().status["attempt"] == 1
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder().running
    train(compose([*WORDS, "force=true"]))
    assert folder().status["attempt"] == 2


def test_a_lock_is_not_lost_by_looking_at_it_and_not_given_twice(tmp_path):
    path = tmp_path / "lock"
    assert not is_held(path)
    with lock(path):
        assert is_held(path)
        assert is_held(path)
        with pytest.raises(ConfigError, match="in use by this process"), lock(path):
            pass
        look = f"import pathlib, steepest.runs.lock; print(steepest.runs.lock.is_held(pathlib.Path({str(path)!r})))"
        said = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
        assert said.stdout == "True\n"
    assert not is_held(path)
