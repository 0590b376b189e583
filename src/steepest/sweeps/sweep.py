"""A grid from its jobs to their results: which runs they mean, what is missing of these, launch, tell."""

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from steepest.config import quoted
from steepest.launchers.processes import JobFailed
from steepest.runs.folder import RunFolder
from steepest.sweeps import bill
from steepest.sweeps.identify import Identifier, PlannedJob
from steepest.sweeps.ledger import Ledger, State, is_open, own_folder, state
from steepest.sweeps.table import show_best

BEST = 5
"""Runs in the table at the end."""


@dataclass(frozen=True)
class Options:
    """What the words of a sweep ask for; see conf/hydra/sweeper/grid.yaml."""

    dry_run: bool
    retry_failed: bool
    batch: int | None


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep, each once, and how they stand."""

    jobs: Mapping[str, PlannedJob]
    states: Mapping[str, State]
    duplicates: int
    todo: Sequence[PlannedJob]

    def of(self, *words: str) -> list[PlannedJob]:
        """The jobs whose runs stand so, of those that are not to be run."""
        left = {job.run_id for job in self.todo}
        return [job for job in self.jobs.values() if job.run_id not in left and self.states[job.run_id].word in words]


def sweep(
    jobs: Sequence[Sequence[str]], launcher: Launcher, loader: ConfigLoader, config: DictConfig, options: Options
) -> None:
    """Run what is missing of a sweep.

    Args:
        jobs: the overrides of each.
        launcher: any of Hydra's; what it gives to its jobs it may say by a method `given`, and which runs it has begun
            before and will wait for by `under_way`.
        loader: Hydra's.
        config: of the sweep, with its `hydra` node.
        options: see `Options`.

    Raises:
        ConfigError: a job's configuration is wrong, or the sweep's folder is in use.
        JobFailed: a run failed, now or before.
    """
    identifier = Identifier(loader, config, getattr(launcher, "given", None))
    under_way: set[str] = getattr(launcher, "under_way", set)()
    plan = planned([identifier.identify(words) for words in jobs], options.retry_failed, under_way)
    print(f"{len(jobs):,} jobs: {described(plan)}.", flush=True)
    if options.dry_run:
        settings: Any = OmegaConf.to_container(config.hydra.launcher, resolve=True)
        items = bill.bill(plan.todo, plan.of("finished"), probes=not getattr(launcher, "remote", False))
        bill.show(items, bill.jobs_at_a_time(settings))
        return
    failed: list[Exception] = []
    if plan.todo:
        with held_folder(config) as folder:
            failed = launched(plan, launcher, config, folder, options.batch)
    tell(plan, failed)


@contextmanager
def held_folder(config: DictConfig) -> Iterator[Path]:
    """Hold the folder of a sweep while the body runs, Hydra's record of the command line in it.

    One that the command line does not choose is another where a sweep of the same second works in it.

    Raises:
        ConfigError: as `own_folder`.
    """
    wanted = Path(str(config.hydra.sweep.dir))
    chosen = any(word.startswith("hydra.sweep.dir=") for word in config.hydra.overrides.hydra)
    with own_folder(wanted, may_differ=not chosen) as folder:
        if folder != wanted:
            with read_write(config), open_dict(config):
                config.hydra.sweep.dir = str(folder)
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={quoted(str(folder))}")
        OmegaConf.save(config, folder / "multirun.yaml")
        yield folder


def planned(jobs: Sequence[PlannedJob], retry_failed: bool, under_way: Container[str] = ()) -> Plan:
    """What of these jobs is to be run: each run once, those without a result, and all of `force=true`.

    Args:
        jobs: all.
        retry_failed: run those again that failed.
        under_way: ids of runs that the launcher has begun before, and will wait for.
    """
    distinct: dict[str, PlannedJob] = {}
    for job in jobs:
        distinct.setdefault(job.run_id, job)
    states = {name: state(job.folder, job.digest) for name, job in distinct.items()}
    todo = [
        job
        for name, job in distinct.items()
        if is_open(job, states[name], retry_failed) or (states[name].word == "running" and name in under_way)
    ]
    return Plan(distinct, states, len(jobs) - len(distinct), todo)


def described(plan: Plan) -> str:
    """The plan, in words."""
    parts = [f"{len(plan.todo):,} to run"]
    if done := plan.of("finished", "diverged"):
        parts.append(f"{len(done):,} done")
    if failed := plan.of("failed"):
        parts.append(f"{len(failed):,} failed (retry_failed=true runs them again)")
    if running := plan.of("running"):
        parts.append(f"{len(running):,} run by another process")
    if stale := plan.of("stale"):
        parts.append(f"{len(stale):,} done by other source or versions (stale; force=true runs them again)")
    if plan.duplicates:
        parts.append(f"{plan.duplicates:,} mean the same run as another")
    return ", ".join(parts)


def launched(plan: Plan, launcher: Launcher, config: DictConfig, folder: Path, batch: int | None) -> list[Exception]:
    """Let the launcher run what is to be run; returns what ended the jobs that failed."""
    ledger = Ledger(folder)
    known = {(entry.run_id, entry.digest) for entry in ledger.entries()}
    known |= {(job.run_id, job.digest) for job in plan.todo}
    others = [job for job in plan.jobs.values() if (job.run_id, job.digest) not in known]
    number = ledger.add([*plan.todo, *others], Path(str(config.paths.runs_dir)))
    failed: dict[int, Exception] = {}
    for begin in range(0, len(plan.todo), batch or len(plan.todo)):
        part = plan.todo[begin : begin + (batch or len(plan.todo))]
        returned = launcher.launch([job.overrides for job in part], number + begin)
        # The public `return_value` prints Hydra's lines before it raises.
        failed |= {
            number + begin + i: one._return_value
            for i, one in enumerate(returned)
            if one.status is not JobStatus.COMPLETED
        }
    reasons = {job: " ".join(str(error).split()).partition(f" (job {job}: ")[0] for job, error in failed.items()}
    ledger.fail(reasons)
    for job, why in reasons.items():
        fail(plan.todo[job - number].folder, why)
    return [*failed.values()]


def fail(folder: RunFolder, why: str) -> None:
    """Say in a run's folder that it failed, where its process was killed before it could."""
    if folder.status.get("status") == "running" and not folder.running:
        with folder.held():
            folder.end("failed", why)


def tell(plan: Plan, failed: Sequence[Exception]) -> None:
    """Print the best runs, and end with an error where some failed.

    Raises:
        JobFailed: some failed.
        ConfigError: the first that failed was misconfigured.
    """
    show_best([(job, state(job.folder, job.digest)) for job in plan.jobs.values()], BEST)
    if failed:
        raise failed[0]
    if before := plan.of("failed"):
        first = before[0]
        why = plan.states[first.run_id].reason
        raise JobFailed(f"{len(before)} of the runs failed before, {first.folder.path} for one: {why}")
