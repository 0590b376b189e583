"""The numbers behind the figures of a report, as frames; both kinds of figures are drawn from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from steepest.report.bands import DRAWN, times
from steepest.report.sections import Section
from steepest.studies.summary import best_of_k
from steepest.studies.times import performance_profile, time_table
from steepest.typical import TYPICAL, kinds

LR = "optimizer.lr"
CLOCKS = ("opt_step", "examples", "grad_evals", "wall_s")


def sensitivity(section: Section) -> pd.DataFrame:
    """The results over the learning rate: of a study's search, else of the runs, where a group has 3 rates or more.

    Returns:
        group, lr, result (NaN: diverged, or without a value), status, run_id; by group and lr.
    """
    runs = section.search if len(section.search) else section.runs
    frame = runs[["group", "result", "status", "run_id"]].assign(lr=[number(config.get(LR)) for config in runs.config])
    frame = frame[frame.lr > 0]
    rates = frame.groupby("group").lr.transform("nunique")
    frame = frame[(rates >= 3) & frame.group.isin(section.groups[:DRAWN])]
    return frame.sort_values(["group", "lr"], kind="stable")[["group", "lr", "result", "status", "run_id"]]


def typical(section: Section) -> dict[str, tuple[float, float]]:
    """The specification's typical learning rates, for each group whose optimizer has some."""
    found: dict[str, tuple[float, float]] = {}
    runs = section.search if len(section.search) else section.runs
    for group, config in zip(runs.group, runs.config, strict=True):
        if group not in found:
            present = kinds({"optimizer": {"_target_": config.get("optimizer._target_")}})
            ranges = [(row.low, row.high) for row in TYPICAL if row.key == LR and row.kind in present]
            found.update({group: ranges[-1]} if ranges else {})
    given = section.facts.get("typical")
    if isinstance(given, Mapping):
        found.update({str(group): (float(low), float(high)) for group, (low, high) in given.items()})
    return found


def search_curves(section: Section) -> pd.DataFrame:
    """The best of k trials of the search, as it is to be expected.

    Returns:
        group, k, value (the expected best), trials. The value of a trial is its mean over the tuning seeds, for which a
        run that diverged counts as the worst value of all.
    """
    parts = []
    search = section.search.dropna(subset=["trial"])
    worst = (section.sign * search.result).min()
    for group in section.groups[:DRAWN]:
        part = search[search.group == group]
        if part.empty or np.isnan(worst):
            continue
        filled = (section.sign * part.result).where(part.status != "diverged", worst)
        values = filled.groupby(part.trial).mean().dropna().to_numpy()
        if len(values) < 2:
            continue
        best = section.sign * best_of_k(values)
        part_of = pd.DataFrame({"group": group, "k": np.arange(1, len(values) + 1), "value": best})
        parts.append(part_of.assign(trials=len(values)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["group", "k", "value", "trials"])


def reached(section: Section, target: float) -> pd.DataFrame:
    """Time to target in every unit: a row a group.

    Returns:
        group, n, reached, the medians by Kaplan and Meier's estimate for opt_step, examples, grad_evals and wall_s
        (infinite where so many never got there that there is none), run_ids; groups as in the section.
    """
    frames = {axis: times(section, target, axis) for axis in CLOCKS}
    tables = {axis: time_table(frame.rename(columns={"group": "contender"})) for axis, frame in frames.items()}
    table = tables[CLOCKS[0]].drop(columns="median").rename_axis("group")
    for axis in CLOCKS:
        table[axis] = tables[axis]["median"]
    table["run_ids"] = frames[CLOCKS[0]].groupby("group").run_id.agg(list)
    return table.reindex([group for group in section.groups if group in table.index]).reset_index()


def steps_up(section: Section, target: float, axis: str) -> pd.DataFrame:
    """The share of a group's runs that have reached the target by x, by Kaplan and Meier's estimate.

    Returns:
        group, x, share, n, missing (runs that never got there): where share rises, from 0 to the last time of all.
    """
    parts = []
    every = times(section, target, axis)
    for group in section.groups[:DRAWN]:
        part = every[every.group == group]
        if part.empty:
            continue
        here, there = part.time[~part.reached], part.time[part.reached]
        rising = stats.ecdf(stats.CensoredData(uncensored=there, right=here)).cdf
        share = [0.0, *rising.probabilities]
        frame = pd.DataFrame({"x": [0.0, *rising.quantiles, part.time.max()], "share": [*share, share[-1]]})
        parts.append(frame.assign(group=group, n=len(part), missing=len(here)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["group", "x", "share", "n"])


def ratios(parts: Sequence[Section]) -> pd.DataFrame:
    """Over the rows with a target: in what share of them a group needs at most tau times the steps of the quickest.

    Returns:
        group, tau, share; empty for less than 2 such rows.
    """
    aimed = [part for part in parts if part.facts.get("target") is not None]
    tables = [reached(part, float(part.facts["target"])).assign(problem=part.key) for part in aimed]
    if len(tables) < 2:
        return pd.DataFrame(columns=["group", "tau", "share"])
    frame = pd.concat(tables).rename(columns={"group": "contender", "opt_step": "time"})
    return performance_profile(frame).rename(columns={"contender": "group", "ratio": "tau"})


def profile(parts: Sequence[Section]) -> pd.DataFrame:
    """Over the rows: in what share of them a group's mean is within tau of the best, on a scale of its own a row.

    On that scale 0 is the row's best mean and 1 its worst; a group that is not in a row, or has no value there, never
    gets within. Rows of one metric alone would not need it; rows of several have nothing else in common.

    Returns:
        group, tau, share; empty for less than 2 rows.
    """
    means = [one.sign * one.runs.groupby("group").counted.mean() for one in parts]
    means = [row for row in means if row.notna().sum() > 1]
    if len(means) < 2:
        return pd.DataFrame(columns=["group", "tau", "share"])
    gaps = pd.DataFrame([(row.max() - row) / ((row.max() - row.min()) or 1.0) for row in means])
    common = [group for group in gaps if gaps[group].notna().sum() > 1]
    if not common:
        return pd.DataFrame(columns=["group", "tau", "share"])
    taus = np.unique(np.concatenate([[0.0, 1.0], gaps[common].to_numpy().ravel()]))
    taus = taus[~np.isnan(taus)]
    shares = {group: [(gaps[group] <= tau + 1e-12).mean() for tau in taus] for group in common}
    order = sorted(common, key=lambda group: -sum(shares[group]))
    return pd.concat([pd.DataFrame({"group": g, "tau": taus, "share": shares[g]}) for g in order], ignore_index=True)


def number(value: Any) -> float:
    """A number; NaN for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else np.nan
