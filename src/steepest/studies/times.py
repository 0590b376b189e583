"""How soon runs reach a target, and how often a contender is among the quickest. Runs that never do are censored."""

import math

import numpy as np
import pandas as pd
from scipy import stats

from steepest.studies.scores import sign_of


def times_to_target(rows: pd.DataFrame, *, metric: str, target: float, direction: str, clock: str) -> pd.DataFrame:
    """When each run first reaches a target.

    Args:
        rows: of metrics.jsonl of several runs: run_id, the metric and the clock; a row without either says nothing.
        metric: such as val/accuracy.
        target: its value that is to be reached, or passed.
        direction: max or min, of the metric.
        clock: the column that time is read from, such as opt_step, examples, grad_evals or wall_s.

    Returns:
        A row for each run: run_id, time, reached. Of a run that does not reach the target, time is the last of its
        clock (0 without any): it was not there by then.
    """
    sign, runs = sign_of(direction), pd.Index(rows["run_id"].unique())
    timed = rows.dropna(subset=[clock]).sort_values(clock, kind="stable")
    there = timed[sign * timed[metric] >= sign * target] if metric in timed else timed.iloc[:0]
    first = there.drop_duplicates("run_id").set_index("run_id")[clock].reindex(runs)
    last = timed.drop_duplicates("run_id", keep="last").set_index("run_id")[clock].reindex(runs)
    time = first.fillna(last).fillna(0.0).astype(float)
    return pd.DataFrame({"run_id": runs, "time": time.to_numpy(), "reached": first.notna().to_numpy()})


def time_table(times: pd.DataFrame) -> pd.DataFrame:
    """The median time to the target of each contender, by Kaplan and Meier's estimate, which minds censored runs.

    Kaplan and Meier 1958, J. Am. Stat. Assoc. 53:457.

    Args:
        times: contender, time, reached, a row for each run.

    Returns:
        Index contender, in the order of their first appearance; columns n, reached (how many), median (infinite where
        so many never get there that there is none).
    """
    found = {}
    for contender, group in times.groupby("contender", sort=False):
        reached = group["reached"].to_numpy(bool)
        when = group["time"].to_numpy(float)
        median = math.inf
        if reached.any():
            left = stats.ecdf(stats.CensoredData(uncensored=when[reached], right=when[~reached])).sf
            half = left.quantiles[left.probabilities <= 0.5 + 1e-12]
            median = float(half[0]) if len(half) else math.inf
        found[contender] = (len(group), int(reached.sum()), median)
    table = pd.DataFrame.from_dict(found, orient="index", columns=["n", "reached", "median"])
    return table.rename_axis("contender")


def performance_profile(times: pd.DataFrame) -> pd.DataFrame:
    """On how many problems a contender needs at most so many times what the quickest needs.

    Dolan and More 2002, Math. Program. 91:201.

    Args:
        times: problem, contender, time, one of each pair; infinite or NaN where the target was never reached. A
            problem that nobody solves counts, and one that a contender has no time for is one that it did not solve.

    Returns:
        contender, ratio (from 1, rising), share (of all problems): the corners of the curves, each with its start at 1.

    Raises:
        ValueError: a time below 0, or two of one pair.
    """
    values = times["time"].to_numpy(float)
    if (values < 0.0).any():
        raise ValueError("a time is below 0")
    table = times.assign(time=np.where(np.isfinite(values), values, np.inf))
    table = table.pivot(index="problem", columns="contender", values="time").fillna(math.inf)
    best = table.min(axis=1)
    quickest = best[np.isfinite(best)]
    solved = table.loc[quickest.index]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = solved.div(quickest, axis=0).mask(solved.eq(quickest, axis=0), 1.0)  # a quickest time of 0, too
    corners = []
    for contender in times["contender"].unique():
        own = ratios[contender].to_numpy() if len(ratios) else np.empty(0)
        for ratio in np.unique([1.0, *own[np.isfinite(own)]]):
            corners.append((contender, float(ratio), float((own <= ratio).sum() / len(table))))
    return pd.DataFrame(corners, columns=["contender", "ratio", "share"])
