"""The numbers behind the figures of a report, as frames; both kinds of figures are drawn from them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from steepest.report.bands import DRAWN, times
from steepest.report.sections import Section
from steepest.report.stand_in import best_of_k as expected_best
from steepest.typical import TYPICAL, kinds

LR = "optimizer.lr"


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
        best = section.sign * expected_best(values)
        part_of = pd.DataFrame({"group": group, "k": np.arange(1, len(values) + 1), "value": best})
        parts.append(part_of.assign(trials=len(values)))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["group", "k", "value", "trials"])


def reached(section: Section, target: float) -> pd.DataFrame:
    """Time to target in every unit: a row a group.

    Returns:
        group, n, reached, and for opt_step, examples, grad_evals and wall_s the median over all runs, infinite where
        half of them or more never got there; run_ids.
    """
    rows: dict[str, dict[str, Any]] = {}
    for axis in ("opt_step", "examples", "grad_evals", "wall_s"):
        frame = times(section, target, axis)
        for group, part in frame.groupby("group"):
            row = rows.setdefault(str(group), {"group": group, "n": len(part), "reached": int(part.reached.sum())})
            row[axis] = float(np.median(part.x.where(part.reached, np.inf))) if len(part) else np.nan
            row["run_ids"] = list(part.run_id)
    order = [group for group in section.groups if group in rows]
    names = ["group", "n", "reached", "opt_step", "examples", "grad_evals", "wall_s", "run_ids"]
    return pd.DataFrame([rows[group] for group in order], columns=names)


def steps_up(section: Section, target: float, axis: str) -> pd.DataFrame:
    """The share of a group's runs that have reached the target by x: group, x, share, n; censored stay below 1."""
    parts = []
    for group, part in times(section, target, axis).groupby("group", sort=False):
        if group not in section.groups[:DRAWN]:
            continue
        there = np.sort(part.x[part.reached].to_numpy())
        last = part.x[np.isfinite(part.x)].max()
        x = np.concatenate([[0.0], there, [max(last, there[-1]) if len(there) else last]])
        share = np.concatenate([[0.0], np.arange(1, len(there) + 1), [len(there)]]) / len(part)
        parts.append(pd.DataFrame({"group": group, "x": x, "share": share, "n": len(part)}).dropna())
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["group", "x", "share", "n"])


def profile(parts: Sequence[Section]) -> pd.DataFrame:
    """Over the rows: in what share of them a group's mean is within tau of the best, on a scale of its own a row.

    On that scale 0 is the row's best mean and 1 its worst; a group that is not in a row, or has no value there, never
    gets within. Rows of one metric alone would not need it; rows of several have nothing else in common.

    Returns:
        group, tau, share; empty for less than 2 rows.
    """
    means = [one.sign * one.runs.groupby("group").result.mean() for one in parts]
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
