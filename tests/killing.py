"""Runs in processes of their own that are killed, as by kill -9, at a chosen moment."""

import contextlib
import functools
import json
import math
import multiprocessing
import os
import signal
from pathlib import Path

import torch

from steepest.runs.folder import RunFolder

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["steepest.train", "steepest.config", "steepest.datasets.digits", "wandb", "killing"])

MOMENTS = [
    ("steepest.tasks.classification", "Classification", ["training_step", "optimizer_step"]),
    ("steepest.tasks.classification", "Classification", ["validation_step", "test_step"]),
    ("steepest.runs.folder", "RunFolder", ["begin", "go_on", "append", "write_summary", "end"]),
    ("pathlib", "Path", ["replace", "rename", "unlink"]),
    ("os", None, ["fsync", "truncate"]),
]
"""Functions before and after whose calls a process may be killed."""

TIMES = {"wall_s", "elapsed_s", "memory_mb", "train/examples_per_s", "row_started", "metrics_bytes"}


def run(words, kills=(), runs_dir="runs"):
    """Run a command line in a new process for each of `kills`, which dies at that moment, and once more to the end.

    Args:
        words: the overrides.
        kills: numbers of moments, from 1 on, or seconds (floats).

    Returns:
        The run folder, and how many moments the last process had.
    """
    words = [*words, "threads=1", "callbacks=none", f"paths.runs_dir={runs_dir}"]
    for moment in kills:
        process, _ = start(words, moment)
        process.join()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its loader workers: else the last of them outlive the tests
        # A clock may come too late for a run that has less and less to do.
        assert process.exitcode == -signal.SIGKILL or isinstance(moment, float), process.exitcode
    process, moments = start(words, None)
    process.join()
    assert process.exitcode == 0
    [path] = (path for path in Path(runs_dir).iterdir() if path.name.startswith("r"))
    return RunFolder(path), moments.value


def start(words, moment):
    """A process that trains, and is killed at that moment."""
    moments = SERVER.Value("l", 0)
    process = SERVER.Process(target=train_until, args=(str(Path.cwd()), words, moment, moments))
    process.start()
    return process, moments


def train_until(folder, words, moment, moments):
    """Train in this process, which may not live to the end."""
    from steepest.config import compose
    from steepest.train import train

    os.setpgrp()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # the server of our launcher blocks some
    os.chdir(folder)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    if isinstance(moment, float):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process as it stands, between any two instructions
        signal.setitimer(signal.ITIMER_REAL, moment)
    else:
        count_moments(moments, moment)
    train(compose(words))


def count_moments(moments, moment):
    """Let every function of MOMENTS count its calls, before and after, and kill the process at one of them."""

    def counted():
        moments.value += 1
        if moments.value == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            counted()
            result = function(*args, **kwargs)
            counted()
            return result

        return call

    for module, owner, names in MOMENTS:
        place = __import__(module, fromlist=["x"])
        place = getattr(place, owner) if owner else place
        for name in names:
            setattr(place, name, watched(getattr(place, name)))


def content(folder):
    """All of a run that must not depend on kills: its last checkpoint, and its rows and summary without times."""
    checkpoint = torch.load(folder.checkpoint("last"), weights_only=True)
    best = torch.load(folder.checkpoint("best"), weights_only=True)["state_dict"]
    return {
        "checkpoint": timeless(checkpoint),
        "best": best,
        "rows": timeless(folder.rows()),
        "summary": timeless(folder.summary),
        "status": folder.status["status"],
    }


def timeless(node):
    if isinstance(node, dict):
        return {key: timeless(value) for key, value in node.items() if key not in TIMES}
    if isinstance(node, list | tuple):
        return [timeless(value) for value in node]
    return node


def differences(one, other, at=""):
    """The places where two nested structures differ in any bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [at]
    if isinstance(one, dict) and isinstance(other, dict):
        found = [f"{at}/{key}" for key in one.keys() ^ other.keys()]
        return found + [
            d for key in one.keys() & other.keys() for d in differences(one[key], other[key], f"{at}/{key}")
        ]
    if isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            return [f"{at} ({len(one)} and {len(other)} items)"]
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{at}/{i}")]
    same = one == other or (
        isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    )
    return [] if same else [f"{at}: {json.dumps(one, default=str)[:60]} and {json.dumps(other, default=str)[:60]}"]
