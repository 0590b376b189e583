"""From what is done to what is to be run next: search, reserve and evaluation of every contender of a row."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from steepest.studies.space import Space, space_of, words
from steepest.studies.study import Contender, Row, Study
from steepest.studies.trials import Point, Tried, best, edges, first_points, gain_of_tuning, reserve_point

Phase = Literal["search", "reserve", "evaluate"]
Identify = Callable[[Sequence[str], Mapping[str, Any]], tuple[str, str]]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study."""

    study: str
    scale: str
    row: str
    contender: str
    phase: Phase
    search: int
    """Of which repeat of the search it is."""
    trial: int
    """Which point of the search it is, the reserve counted on; of an evaluation, the one that it evaluates."""
    seed: int
    setting: str
    """What the search has chosen, as JSON."""
    base: tuple[str, ...]
    """Overrides of the row and the contender."""
    run_id: str
    digest: str
    needs: tuple[str, ...]
    """Metrics that it must have measured: what ranks trials, and of an evaluation what is compared."""

    @property
    def label(self) -> dict[str, Any]:
        """What the run's configuration says of its place in the study."""
        keys = ("scale", "row", "contender", "phase", "search", "trial")
        return {"name": self.study} | {key: getattr(self, key) for key in keys}

    @property
    def overrides(self) -> list[str]:
        """The command line of the run, without its label."""
        return [*self.base, *words(json.loads(self.setting)), f"seed={self.seed}"]


@dataclass(frozen=True)
class Result:
    """What came out of a run."""

    status: Literal["finished", "diverged", "failed"]
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    opt_steps: int | None = None
    examples: int | None = None
    grad_evals: int | None = None
    wall_s: float | None = None
    elapsed_s: float | None = None
    memory_mb: float | None = None
    command: str = ""
    committed: Mapping[str, Any] | None = None
    """The line of a results.csv that it was read from."""


Look = Callable[[PlannedRun], Result | None]
Planned = Sequence[tuple[Row, Sequence["Side"]]]
"""Every row with its contenders."""


@dataclass
class Side:
    """A contender in one repeat of the search, as far as it has come."""

    contender: Contender
    repeat: int
    runs: list[PlannedRun] = field(default_factory=list)
    """All that can be planned up to now, done or not."""
    later: int = 0
    """Runs that will follow, whose settings are not known yet."""
    chosen: int = 0
    """The trial that is evaluated."""
    edges: dict[str, str] = field(default_factory=dict)
    """Dimensions on whose edge the best still lies with the reserve spent: {"lr": "low"}."""
    gain: Callable[[float], float] = lambda near: 0.0
    """What a finer search could still find, in units of the selecting metric: `gain_of_tuning`, given its `near`."""


def plan(study: Study, identify: Identify, look: Look) -> Planned:
    """Every row with its contenders, each planned as far as the results allow."""
    spaces = {row.name: {one.name: space_of(row, one) for one in row.contenders} for row in study.rows}
    return [
        (
            row,
            [
                _side(study, row, one, spaces[row.name][one.name], repeat, identify, look)
                for repeat in range(row.search.repeats)
                for one in row.contenders
            ],
        )
        for row in study.rows
    ]


def once(planned: Planned) -> Iterator[tuple[Row, list[PlannedRun], int]]:
    """Of each row the runs that no row before it has, and how many will follow: rows may share some."""
    ids: set[str] = set()
    searches: set[tuple[str, ...]] = set()
    for row, sides in planned:
        own: dict[str, PlannedRun] = {}
        later = 0
        for side in sides:
            own |= {run.run_id: run for run in side.runs if run.run_id not in ids}
            search = tuple(run.run_id for run in side.runs)
            later += 0 if search in searches else side.later  # the same search will be followed by the same runs
            searches.add(search)
        ids |= {*own}
        yield row, [*own.values()], later


def _side(
    study: Study, row: Row, contender: Contender, space: Space, repeat: int, identify: Identify, look: Look
) -> Side:
    side = Side(contender, repeat)
    seeds, search = row.tuning_seeds(repeat), row.search
    tried: list[Tried] = []
    base = (*row.base, *contender.overrides)

    def planned(phase: Phase, trial: int, point: Point, seed: int) -> PlannedRun:
        # A choice such as schedule=cosine brings keys of its own, so it is composed; numbers are only put in.
        chosen, tuned = space.chosen(point), space.tuned(point)
        test = row.model if phase == "evaluate" else "none"
        run_id, digest = identify((*base, *words(chosen)), {**tuned, "seed": seed, "test": test})
        place = (study.name, study.scale, row.name, contender.name, phase, repeat, trial, seed)
        needs = (row.selected_by, row.metric) if phase == "evaluate" else (row.selected_by,)
        return PlannedRun(*place, json.dumps(chosen | tuned), (*base, f"test={test}"), run_id, digest, needs)

    def scored(phase: Phase, points: Sequence[Point]) -> bool:
        """Plan trials; whether all have their results."""
        first = len(tried)
        runs = [[planned(phase, first + i, point, seed) for seed in seeds] for i, point in enumerate(points)]
        side.runs += [run for trial in runs for run in trial]
        results = [[look(run) for run in trial] for trial in runs]
        if any(result is None for trial in results for result in trial):
            return False
        for point, trial in zip(points, results, strict=True):
            values = [score(row, result) for result in trial if result is not None]
            tried.append(Tried(point, sum(values) / len(values)))
        return True

    dimensions, sampler = space.dimensions, search.sampler
    count, reserve = (search.trials, search.reserve) if dimensions else (0, 0)
    side.later = reserve * len(seeds) + row.seeds
    if dimensions:
        # Of the sequence every repeat has a part of its own; a grid is the same, and only its seeds are others.
        repeats = repeat if sampler == "sobol" else 0
        if not scored("search", first_points(sampler, dimensions, count * (repeats + 1))[count * repeats :]):
            return side
    for _ in range(reserve):
        side.later -= len(seeds)
        point = reserve_point(tried, dimensions, sampler, count)
        if point is not None and not scored("reserve", [point]):
            return side
    side.later = 0
    if tried:
        chosen = best(tried)
        side.chosen = tried.index(chosen)
        side.edges = edges(tried, dimensions, sampler)
        side.gain = partial(gain_of_tuning, tried, dimensions, sampler)
    winner = tried[side.chosen].point if tried else ()
    side.runs += [planned("evaluate", side.chosen, winner, seed) for seed in row.evaluation_seeds]
    return side


def score(row: Row, result: Result) -> float:
    """What a trial is ranked by, larger is better; a run that diverged or failed is the worst of all."""
    found = result.committed["validation"] if result.committed else result.metrics.get(row.selected_by)
    return -math.inf if result.status != "finished" or found is None else row.sign * float(found)
