"""Curves over the runs of a group: one mean and one band, in few points however many rows there are."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from steepest.report.sections import Section
from steepest.studies.tests_of_means import interval
from steepest.studies.times import times_to_target

POINTS = 160
"""Of a drawn curve: about one for each three pixels of a figure."""
T_FROM = 5
"""Runs from which on a band is a t interval."""
DRAWN = 12
"""Groups with curves in one figure; more cannot be told apart."""
ENDS = 60
"""Diverged runs that are marked, at most."""

Trace = tuple[str, np.ndarray, np.ndarray]


def bands(section: Section, metric: str, axis: str, points: int = POINTS) -> pd.DataFrame:
    """Mean and band of a metric over the finished runs of each group, where all of them have values.

    Every run is interpolated to one grid; its rows are means since the row before, so nothing is smoothed further.

    Args:
        section: its best `DRAWN` groups are taken.
        metric: a column of its metrics.
        axis: the column for x: opt_step, examples, grad_evals, wall_s.
        points: on a curve, at most.

    Returns:
        group, x, mean, low, high, n. The band is the 95 % t interval from `T_FROM` runs on; below, where that is
        several times as wide as all of them, from the least to the greatest; NaN for one.
    """
    parts = []
    of_run = {run: (x, y) for run, x, y in traces(section, metric, axis)}
    finished = section.runs[section.runs.status == "finished"]
    for group in section.groups[:DRAWN]:
        curves = [of_run[run] for run in finished.run_id[finished.group == group] if run in of_run]
        if not curves:
            continue
        start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
        if end < start:
            continue
        seen = np.unique(curves[0][0]) if len(curves) == 1 else np.unique(np.concatenate([x for x, _ in curves]))
        seen = seen[(seen >= start) & (seen <= end)]
        grid = seen if len(seen) <= points else np.linspace(start, end, points)
        values = np.stack([np.interp(grid, x, y) for x, y in curves])
        low, high = spread(values)
        parts.append(pd.DataFrame({"group": group, "x": grid, "mean": values.mean(0), "low": low, "high": high}))
        parts[-1]["n"] = len(curves)
    names = ["group", "x", "mean", "low", "high", "n"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def spread(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The band of curves.

    Args:
        values: (runs, points).

    Returns:
        Two arrays of (points).
    """
    if len(values) == 1:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    if len(values) < T_FROM:
        return values.min(0), values.max(0)
    return interval(values.T)


def ends(section: Section, metric: str, axis: str) -> pd.DataFrame:
    """Where runs diverged: group, run_id, x, y of the last finite value."""
    of_run = {run: (x[-1], y[-1]) for run, x, y in traces(section, metric, axis)}
    lost = section.runs[(section.runs.status == "diverged") & section.runs.group.isin(section.groups[:DRAWN])]
    rows = [(g, run, *of_run[run]) for g, run in zip(lost.group, lost.run_id, strict=True) if run in of_run]
    return pd.DataFrame(rows[:ENDS], columns=["group", "run_id", "x", "y"])


def times(section: Section, target: float, axis: str) -> pd.DataFrame:
    """When each run that ended first reached the target on its curve.

    Returns:
        group, run_id, time, reached: a run that ended before is censored, its time is its end; one that diverged before
        would never get there, so that its time is the last of all runs.
    """
    ended = section.runs[section.runs.status.isin(["finished", "diverged"])]
    rows = section.metrics[section.metrics.run_id.isin(ended.run_id)]
    found = times_to_target(rows, metric=section.curve, target=target, direction=section.direction, clock=axis)
    frame = ended[["group", "run_id", "status"]].merge(found, on="run_id")
    frame.loc[~frame.reached & (frame.status == "diverged"), "time"] = frame.time.max()
    return frame.drop(columns="status")


def traces(section: Section, metric: str, axis: str) -> Iterator[Trace]:
    """The curve of each run: its id, x rising, and y; rows without either are left out."""
    rows = section.metrics
    if metric not in rows or axis not in rows:
        return
    rows = rows.loc[rows[metric].notna() & rows[axis].notna(), ["run_id", axis, metric]]
    codes, ids = pd.factorize(rows.run_id)
    order = np.lexsort((rows[axis].to_numpy(), codes))  # stable: of two rows at one step the later one stays later
    x, y = rows[axis].to_numpy()[order], rows[metric].to_numpy()[order]
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    for run, one, other in zip(ids, np.split(x, cuts), np.split(y, cuts), strict=True):
        if len(one):
            yield str(run), one, other
