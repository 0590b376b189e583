"""One run from its composed configuration to its run folder."""

import math
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from steepest import build, schema
from steepest.assemble import assemble
from steepest.config import resolved
from steepest.errors import ConfigError
from steepest.fit import fit
from steepest.launchers.group import Group, group_of
from steepest.launchers.machine import ranks, settle, spreads
from steepest.launchers.ranks import run_ranks
from steepest.launchers.server import start_server
from steepest.rank import train_rank
from steepest.routing.assignment import as_csv
from steepest.routing.assignment import show as show_assignment
from steepest.runs.checkpoint import Position, newest
from steepest.runs.closing import show
from steepest.runs.files import write_atomically
from steepest.runs.folder import Diverged, Preempted, RunFolder
from steepest.runs.headline import Headline
from steepest.runs.identity import identify, source_digest, versions
from steepest.runs.lock import taken
from steepest.runs.log import logging_aside


def train(cfg: DictConfig) -> float:
    """Train what the configuration says and return the headline (NaN: diverged).

    A run that has come to its end is not run again, and one that was cut off goes on; `force` begins anew. Of a run on
    several nodes the first holds the folder; the others only train (and return NaN).

    Raises:
        ConfigError: before any training, for what the user can mend.
        SystemExit: the run was asked to end from outside; the code is 128 and the signal's number.
    """
    schema.check(cfg)
    config, name = settled(cfg)
    build.check(cfg)
    digest = source_digest(config)
    folder = RunFolder(Path(cfg.paths.runs_dir) / name)
    group = group_of(cfg)
    if spreads(cfg):
        start_server()  # it imports while the data are read here
    if group.node:
        return follow(cfg, folder, group)
    if folder.running:  # told before data are read; the lock below is what keeps two apart
        raise ConfigError(taken(folder.path / "lock"))
    if folder.has_result and not cfg.force:
        return again(folder, digest)
    with logging_aside() as log_to, terminable():
        parts = assemble(cfg)  # before the folder is made: a mistake leaves none behind
        with folder.held():
            if folder.has_result and not cfg.force:  # by a process that was faster
                return again(folder, digest)
            begin(cfg, folder, digest, group)
            write_atomically(folder.path / "parameters.csv", lambda file: file.write(as_csv(parts.assignment).encode()))
            show_assignment(parts.assignment)
            log_to(folder.log_file)
            with telling(folder), folder.attempt():
                if spreads(cfg):
                    del parts  # each rank builds its own
                    run_ranks(folder, train_rank, ranks(cfg), group)
                else:
                    fit(parts, cfg, folder)
        show(folder)
    return headline(folder)


def follow(cfg: DictConfig, folder: RunFolder, group: Group) -> float:
    """Train as a further node of a run, whose first one holds the folder and says how the run ends.

    Raises:
        ConfigError: the first node does not begin.
    """
    if folder.has_result and not cfg.force:
        return math.nan
    with logging_aside(), terminable():
        assemble(cfg)  # what this node lacks is told by this node
        group.wait_for_first(folder)
        try:
            run_ranks(folder, train_rank, ranks(cfg), group)
        except Diverged:
            pass
        except Preempted as stop:
            raise SystemExit(stop.code) from None
    return math.nan


def begin(cfg: DictConfig, folder: RunFolder, digest: str, group: Group) -> None:
    """Let a new attempt begin in the folder, or the one that was cut off go on."""
    status = folder.status
    position = Position(None, 0, 0, [])
    if goes_on := bool(status) and not folder.has_result and not cfg.force and status["source_digest"] == digest:
        position = newest(folder)
    attempt = status["attempt"] if goes_on else folder.next_attempt
    cfg.run = describe(cfg, folder, attempt, position)
    record = {"slurm_step": group.step} if group.step else {}
    if goes_on:
        folder.go_on(resolved(cfg), position.opt_step, position.metrics_bytes, **record)
        for remark in position.remarks:
            print(f"{cfg.run.name}: {remark}; an older checkpoint is used.", flush=True)
        print(f"{cfg.run.name}: was cut off, goes on after step {position.opt_step:,}", flush=True)
    else:
        if status:
            why = "force=true" if cfg.force else "it was cut off, and the source or the versions have changed since"
            print(f"{cfg.run.name}: attempt {status['attempt']} is set aside ({why})", flush=True)
        folder.begin(resolved(cfg), run_id=folder.path.name, source_digest=digest, versions=versions(), **record)


def again(folder: RunFolder, digest: str) -> float:
    """Show the result that is there already."""
    stale = folder.status["source_digest"] != digest
    by = " by other source or versions (stale)" if stale else ""
    show(folder, f"already {folder.status['status']}{by}; force=true runs it again")
    return headline(folder)


def headline(folder: RunFolder) -> Headline:
    """The value of the run's one metric; NaN for a run that diverged."""
    found = folder.summary["headline"]
    value = math.nan if found["value"] is None else found["value"]
    return Headline.of(value, found["metric"], found["direction"])


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM be an exception while a run begins and ends; in between training handles it, see Interruption."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def telling(folder: RunFolder) -> Iterator[None]:
    """Say what became of a run that is ended from outside."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        show(folder)
        raise


def settled(cfg: DictConfig) -> tuple[dict[str, Any], str]:
    """The configuration as this machine settles it, in place and in plain containers, and the run's id.

    Raises:
        ConfigError: the machine lacks what is asked for, or there are no weights to start from.
    """
    settle(cfg)
    cfg.paths.data_dir = str(Path(cfg.paths.data_dir).absolute())  # so that the run finds its data from any folder
    config = resolved(cfg)
    return config, identify(config)


def describe(cfg: DictConfig, folder: RunFolder, attempt: int, position: Position) -> dict[str, Any]:
    """Where the run lives, where it goes on, and what loggers call it."""
    choices = cfg.choices
    tags = [choices[group] for group in ("task", "dataset", "model", "optimizer", "schedule")]
    if cfg.optimizer.get("name"):  # of a library's class
        tags[3] = cfg.optimizer.name.lower()
    group = choices.get("experiment")
    if cfg.study:
        group = f"{cfg.study.name}/{cfg.study.row}/{cfg.study.contender}"[:128]  # W&B takes no longer one
        tags += [cfg.study.name, cfg.study.scale, cfg.study.row, cfg.study.phase]
    return {
        "id": folder.path.name,
        "attempt": attempt,
        "folder": str(folder.path),
        "resume": str(position.checkpoint) if position.checkpoint else None,
        "name": cfg.name or "-".join([*tags[1:], f"s{cfg.seed}"]),
        "group": group,
        "tags": [*dict.fromkeys(tags)],
    }
