"""A study from its claims to its verdicts: plan, bill, launch round by round, judge, write."""

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from steepest.conclude import conclude
from steepest.config import compose, quoted
from steepest.errors import ConfigError, shown
from steepest.runs.lock import lock
from steepest.studies import bill as bills
from steepest.studies.compose import Composer
from steepest.studies.ledger import Ledger
from steepest.studies.plan import Planned, PlannedRun, once, plan
from steepest.studies.progress import Watch
from steepest.studies.study import Study, load_study, study_file
from steepest.sweeps import ledger as sweeps
from steepest.sweeps.bill import jobs_at_a_time

Launch = Callable[[Sequence[Sequence[str]], int], Sequence[Any]]
"""A Hydra launcher's `launch`: overrides of each job, and the number of the first."""


def run_study(
    launch: Launch,
    launcher: Mapping[str, Any],
    study: str,
    scale: str,
    rows: list[str] | None,
    seeds: int | None,
    dry_run: bool,
    retry_failed: bool,
    publish: bool,
    aside: list[str],
) -> None:
    """Run what is not done yet of a study, and end with its table.

    Args:
        launch: runs jobs and comes back when they have ended.
        launcher: the launcher's configuration, which may say how many jobs run at a time.
        study: a study's name.
        scale: smoke, small or full.
        rows: names of rows; None: all.
        seeds: evaluation seeds in place of the study's.
        dry_run: stop after the bill.
        retry_failed: run failed ones again.
        publish: write to experiments/<study>/, too.
        aside: overrides of every run that decide no result.

    Raises:
        ConfigError: a mistake in the study or the options.
    """
    claims = load_study(study, scale, rows)
    if seeds is not None:
        claims = with_seeds(claims, seeds)
    paths = compose(aside).paths
    # The runs find their data and their folder from wherever a launcher starts them.
    aside = [
        *aside,
        f"paths.runs_dir={Path(paths.runs_dir).absolute()}",
        f"paths.data_dir={Path(paths.data_dir).absolute()}",
    ]
    runs_dir, home = Path(paths.runs_dir).absolute(), study_file(study).parent
    composer, ledger = Composer(aside), Ledger(runs_dir, home / "results.csv", retry_failed)
    planned = plan(claims, composer.identify, ledger.look)
    jobs = jobs_at_a_time(launcher)
    items = bills.bill(planned, ledger.look, aside)
    bills.show(items, jobs, f"{claims.name}, scale={claims.scale}: {claims.question}")
    if ledger.stale:
        print(f"{len(ledger.stale)} runs are by other source or versions (stale): they are run again.", flush=True)
    if dry_run:
        return
    if publish and not os.access(home, os.W_OK):
        raise ConfigError(f"publish=true cannot write to {home}; allowed is a checkout that you may write to.")
    out = runs_dir / "studies" / f"{claims.name}-{claims.scale}"
    with alone(out):
        with Watch(runs_dir, sum(item.done for item in items), bills.expected_s(items), jobs) as watch:
            planned = execute(claims, planned, composer, ledger, launch, aside, watch, out)
        conclude(claims, planned, ledger, out, runs_dir, home if publish else None)


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a second process from the same study, whose runs of this one would be failures to that one.

    Raises:
        ConfigError: there is one, or the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(lock(out / "lock"))
        except OSError as error:
            raise ConfigError(
                f"paths.runs_dir={out.parents[1]} cannot be written ({error.strerror}); allowed is a writable folder."
            ) from None
        yield


def execute(
    study: Study,
    planned: Planned,
    composer: Composer,
    ledger: Ledger,
    launch: Launch,
    aside: Sequence[str],
    watch: Watch,
    out: Path,
) -> Planned:
    """Launch what a plan lacks, plan again with what came out, until nothing is lacking."""
    jobs = sweeps.Ledger(out / "jobs")
    while todo := missing(planned, ledger):
        watch.begin(todo, sum(len(runs) + later for _, runs, later in once(planned)))
        number = jobs.add(todo, ledger.runs_dir)
        returned = launch([words_of(run, ledger, aside) for run in todo], number)
        for run, job in zip(todo, returned, strict=True):
            ledger.give_up([run], why_of(job))
        jobs.fail({i: ledger.lost[run.run_id] for i, run in enumerate(todo, number) if run.run_id in ledger.lost})
        planned = plan(study, composer.identify, ledger.look)
    watch.begin([], sum(len(runs) for _, runs, _ in once(planned)))
    return planned


def missing(planned: Planned, ledger: Ledger) -> list[PlannedRun]:
    """The runs that can be run now, each once: rows may share some."""
    runs = {run.run_id: run for _, sides in planned for side in sides for run in side.runs}
    return [run for run in runs.values() if ledger.look(run) is None]


def words_of(run: PlannedRun, ledger: Ledger, aside: Sequence[str]) -> list[str]:
    """The overrides of a job."""
    label = ", ".join(f"{key}: {quoted(of) if isinstance(of, str) else of}" for key, of in run.label.items())
    force = ["force=true"] if run.run_id in ledger.stale else []
    return [*run.overrides, *aside, f"study={{{label}}}", *force]


def why_of(job: Any) -> str:
    """Why a job left no result, as far as its launcher knows."""
    try:
        value = job.return_value
    except Exception as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "its configuration is refused" if isinstance(value, float) and math.isnan(value) else "it left no result"


def with_seeds(study: Study, seeds: int) -> Study:
    """The study with so many evaluation seeds."""
    if seeds < 2:
        raise ConfigError(f"seeds={shown(seeds)} is not possible; allowed is an integer of 2 or more.")
    return study.model_copy(update={"rows": tuple(row.model_copy(update={"seeds": seeds}) for row in study.rows)})
