"""The parts of a report: what may be compared stands together, and nothing else does."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.report.runs import STUDY, Runs, known

SEARCH = ("search", "reserve")
ALIKE = ("model", "budget.steps", "budget.epochs", "budget.examples", "budget.seconds", "batch.size")
"""What should be the same in runs whose results are compared."""
RISES = re.compile(r"accuracy|auc|f1|precision|recall|return|reward|score|success|r2|likelihood|examples_per_s", re.I)
"""Names of metrics of which more is better, for metrics that no run has as its headline."""


@dataclass(frozen=True)
class Section:
    """Runs that answer one question with one metric."""

    key: str
    """For an anchor: letters, digits and hyphens."""
    title: str
    metric: str
    direction: str
    runs: pd.DataFrame
    """The runs whose results are compared, with `group`, `result` (the metric, NaN where the run has none) and
    `counted` (the same, but the worst value for a run that diverged, where the study names one)."""
    search: pd.DataFrame
    """The runs of a study's search, with the same columns; `result` is the metric on validation data."""
    metrics: pd.DataFrame
    """The rows of the metrics of `runs`."""
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the study says of its row, where it is known: claim, recommended, target, margin, worst, typical."""

    @property
    def sign(self) -> float:
        """What turns a value into one of which more is better."""
        return 1.0 if self.direction == "max" else -1.0

    @property
    def groups(self) -> list[str]:
        """The groups, the best mean first."""
        means = self.runs.groupby("group", sort=True).counted.mean() * self.sign
        return [str(name) for name in means.sort_values(ascending=False, kind="stable", na_position="last").index]

    @property
    def rows(self) -> list[str]:
        """The rows of studies that it is of: one, or none."""
        return [str(row) for row in known(self.runs.row)]

    @property
    def curve(self) -> str:
        """The metric whose curve over the run belongs to the result: the same on validation data, if it was logged."""
        return during(self.metric, self.metrics)


def sections(
    data: Runs, by: str | None = None, metric: str | None = None, facts: Mapping[str, Mapping[str, Any]] | None = None
) -> list[Section]:
    """Split runs into what may be compared.

    Rows of studies are sections of their own; other runs are told apart by task, data set and metric.

    Args:
        data: the runs.
        by: the config group or key whose values are compared; None: contenders in studies, else the optimizer.
        metric: compare this one; None: each run's headline, or the metric of the row's facts.
        facts: for a row's name what its study says, such as {"metric": "test/loss", "direction": "min"}.

    Raises:
        ConfigError: no run has such a key, or such a metric.
    """
    runs = data.runs.copy()
    for name in STUDY:  # empty cells of a frame that was built elsewhere may be NaN
        runs[name] = runs[name].astype(object).where(runs[name].notna(), None)
    check_metric(data, metric)
    if by is not None:
        check_key(runs, by)
    runs["group"] = [label(run, by) for run in runs.to_dict("records")]
    facts = facts or {}
    runs["place"] = [place(run, by) for run in runs.to_dict("records")]
    own = [metric or facts.get(row, {}).get("metric") or name for row, name in zip(runs.row, runs.metric, strict=True)]
    runs["compared"] = pd.Series(own, runs.index, dtype=object)
    # A run that has not ended has no headline yet: it belongs to the others of its place.
    runs["compared"] = runs.compared.fillna(runs.groupby("place").compared.transform("first"))
    found: list[Section] = []
    for (title, name), part in runs.groupby(["place", "compared"], sort=False, dropna=True):
        rows = known(part["row"])
        said = facts.get(rows[0], {}) if rows else {}
        found.append(section(str(title), str(name), part, data.metrics, said, by))
    if not found:
        raise ConfigError("No run has a result yet; allowed are runs that ended, or --metric NAME.")
    return [replace(one, key=f"{one.key}-{i}") for i, one in enumerate(found)]


def section(
    title: str, metric: str, part: pd.DataFrame, metrics: pd.DataFrame, said: Mapping[str, Any], by: str | None = None
) -> Section:
    """The section of runs that belong together."""
    searched = part.phase.isin(SEARCH)
    runs, search = part[~searched].copy(), part[searched].copy()
    notes: list[str] = []
    if runs.empty:
        runs = search.copy()
        notes.append("Only runs of a search: their best values are too good, and no evidence for a claim.")
    runs["result"] = [result(run, metric) for run in runs.to_dict("records")]
    search["result"] = [result(run, on_validation(metric)) for run in search.to_dict("records")]
    worst = said.get("worst")
    runs["counted"] = runs.result if worst is None else runs.result.where(runs.status != "diverged", float(worst))
    notes += warnings(runs, by)
    ways = [str(way) for way in [said.get("direction"), *known(part.direction[part.metric == metric])] if way]
    direction = (ways or ["max" if RISES.search(metric) else "min"])[0]
    key = re.sub("[^a-z0-9]+", "-", f"{title} {metric}".lower()).strip("-")
    of_these = metrics[metrics.run_id.isin(runs.run_id)]
    return Section(key, title, metric, direction, runs, search, of_these, tuple(notes), said)


def warnings(runs: pd.DataFrame, by: str | None = None) -> Iterator[str]:
    """What a reader must know before he believes a mean over these runs, or a comparison of two."""
    if runs.phase.isna().all():
        odd = [key for key in ALIKE if key != by and len({str(setting(config, key)) for config in runs.config}) > 1]
        if odd:
            yield f"The runs differ in {listed(odd)}, so that not all that stands here side by side can be compared."
    for group, part in runs.groupby("group"):
        digests = known(part.digest)
        if len(digests) > 1:
            yield (
                f"{group} has runs of {len(digests)} source digests ({listed(map(str, digests))}): the code changed "
                "between them, so they enter no verdict and no difference."
            )
        if part.phase.isna().all() and (keys := differing(part)):
            first = listed(keys[:4]) if len(keys) < 5 else f"{', '.join(keys[:4])} and {len(keys) - 4} more"
            yield f"{group} averages over runs that differ in {first}: --by {keys[0]} tells them apart."
    missing = runs[runs.result.isna() & (runs.status == "finished")]
    if len(missing):
        yield f"{len(missing)} finished run{'s' * (len(missing) > 1)} without a value of this metric left out."


def differing(runs: pd.DataFrame) -> list[str]:
    """The settings that are not the same in all runs, the seed and what follows from a choice aside."""
    if len(runs) < 2:
        return []
    first, *others = runs.config
    odd = ("seed", "logger", "log.", "callbacks", "choices.recommended", "force", "name", "checkpoint.")
    names = dict.fromkeys(key for config in runs.config for key in config if not key.startswith(odd))
    return [key for key in names if any(other.get(key) != first.get(key) for other in others)]


def label(run: Mapping[str, Any], by: str | None) -> str:
    """The group of a run."""
    if by is None:
        if run["contender"]:
            return str(run["contender"])
        by = "optimizer"
    value = setting(run["config"], by)
    return shown(value) if value is not None else "none"


def setting(config: Mapping[str, Any], key: str) -> Any:
    """The value of a config key, or what was chosen for a config group."""
    return config.get(f"choices.{key}", config.get(key))


def place(run: Mapping[str, Any], by: str | None) -> str:
    """What a run's section is called."""
    if run["study"]:
        return " / ".join(str(run[name]) for name in ("study", "row", "scale") if run[name])
    parts = [setting(run["config"], group) for group in ("task", "dataset") if group != by]
    return " on ".join(str(part) for part in parts if part is not None) or "runs"


def result(run: Mapping[str, Any], metric: str) -> float:
    """The value of a metric that a run ended with; NaN if it diverged, goes on, or does not have it."""
    if run["status"] != "finished":
        return np.nan
    found = run["metrics"].get(metric, run["value"] if run["metric"] == metric else None)
    return np.nan if found is None else float(found)


def on_validation(metric: str) -> str:
    """The metric that selects settings: the test split is read once, at the end."""
    return re.sub("^test/", "val/", metric)


def during(metric: str, rows: pd.DataFrame) -> str:
    """The metric that was logged over the run for a result."""
    names = [on_validation(metric.removeprefix("best/")), metric.removeprefix("best/"), metric]
    return next((name for name in names if name in rows and rows[name].notna().any()), names[0])


def check_metric(data: Runs, metric: str | None) -> None:
    """Raises ConfigError if no run has this metric."""
    names = dict.fromkeys(name for run in data.runs.metrics for name in run)
    if metric is not None and metric not in names and metric not in set(known(data.runs.metric)):
        meant = did_you_mean(near(metric, names))
        raise ConfigError(f"--metric={metric} is in no run;{meant} allowed are {listed(names) if names else 'none'}.")


def check_key(runs: pd.DataFrame, by: str) -> None:
    """Raises ConfigError if no run has this config group or key."""
    if all(setting(config, by) is None for config in runs.config):
        names = dict.fromkeys(key.removeprefix("choices.") for config in runs.config for key in config)
        meant = did_you_mean(near(by, names))
        raise ConfigError(f"--by={by} is in no run's config.yaml;{meant} allowed are config groups and keys.")
