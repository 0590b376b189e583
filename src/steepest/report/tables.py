"""Tables of groups: mean, interval, n, what diverged, and what it cost; as a frame, in Markdown, and in words."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from steepest.report.runs import known
from steepest.report.sections import Section
from steepest.studies.tests_of_means import interval

AGGREGATED = (
    *("group", "mean", "low", "high", "n", "diverged", "unfinished", "opt_steps", "wall_s", "step_ms", "memory_mb"),
    *("digests", "run_ids"),
)
UNFINISHED = ("running", "failed", "preempted")


def aggregate(section: Section) -> pd.DataFrame:
    """A row a group, the best mean first.

    Returns:
        `AGGREGATED`: the mean over the runs that have a value (one that diverged has the worst, where the study names
        it), its two-sided t interval of 95 % (infinite for one run), how many these are, how many diverged or are
        unfinished, medians of optimizer steps, of seconds, of milliseconds a step, and of memory in MB; how many source
        digests; the ids of the runs.
    """
    rows = []
    for group in section.groups:
        part = section.runs[section.runs.group == group]
        values = part.counted.dropna()
        low, high = interval(values.to_numpy())
        steps = part.opt_steps.where(part.opt_steps > 0)
        rows.append(
            {
                "group": group,
                **{"mean": values.mean(), "low": low, "high": high, "n": len(values)},
                "diverged": int((part.status == "diverged").sum()),
                "unfinished": int(part.status.isin(UNFINISHED).sum()),
                **{"opt_steps": part.opt_steps.median(), "wall_s": part.wall_s.median()},
                **{"step_ms": (1000 * part.wall_s / steps).median(), "memory_mb": part.memory_mb.median()},
                **{"digests": len(known(part.digest)), "run_ids": list(part.run_id)},
            }
        )
    return pd.DataFrame(rows, columns=[*AGGREGATED])


def differences(section: Section, margin: float | None = None) -> pd.DataFrame:
    """How far each group is behind the reference: paired by seed where both have it, oriented (above 0: behind).

    The reference is the recommended contender of a study, else the group with the best mean; the second choice was made
    on these same values, so that its lead is too good, and no verdict. Groups that have several source digests are left
    out, and so are runs that diverged where no study says what they count as.

    Returns:
        group, reference, mean, low, high (two-sided 95 % t interval), n (pairs), margin, run_ids.
    """
    single = [group for group in section.groups if one_digest(section, group)]
    reference = section.facts.get("recommended") or (section.groups[0] if section.groups else None)
    rows = []
    if reference in single:
        values = section.runs.pivot_table(
            index="seed", columns="group", values="counted", aggfunc="mean", observed=True
        )
        for group in single:
            if group == reference or group not in values or reference not in values:
                continue
            pairs = (section.sign * (values[reference] - values[group])).dropna()
            low, high = interval(pairs.to_numpy())
            ids = list(section.runs.run_id[section.runs.group.isin([group, reference])])
            rows.append((group, reference, pairs.mean(), low, high, len(pairs), margin, ids))
    names = ["group", "reference", "mean", "low", "high", "n", "margin", "run_ids"]
    frame = pd.DataFrame(rows, columns=names)
    return frame[frame.n > 0].reset_index(drop=True)


def one_digest(section: Section, group: str) -> bool:
    """Whether the runs of a group are of one source digest, or of none that is known."""
    return len(known(section.runs.digest[section.runs.group == group])) <= 1


def in_words(table: pd.DataFrame, section: Section) -> pd.DataFrame:
    """An aggregated table as text: numbers in as many digits as their intervals deserve, empty where there are none."""
    words = pd.DataFrame({"group": table.group})
    pairs = zip(table["mean"], table.low, table.high, strict=True)
    texts = [with_interval(mean, low, high) for mean, low, high in pairs]
    words[section.metric] = [text.partition(" ")[0] for text in texts]
    words["95 % interval"] = [text.partition(" ")[2].strip("[]") for text in texts]
    words["n"] = table.n.map(str)
    words["diverged"] = table.diverged.map(str)
    if table.unfinished.any():
        words["unfinished"] = table.unfinished.map(str)
    words["steps"] = table.opt_steps.map(count)
    words["seconds"] = table.wall_s.map(number)
    if table.memory_mb.notna().any():
        words["memory MB"] = table.memory_mb.map(count)
    return words


def to_markdown(words: pd.DataFrame) -> str:
    """A table of texts in GitHub's Markdown; all columns but the first stand right."""
    cells = [[escaped(str(value)) for value in row] for row in words.itertuples(index=False)]
    head = [escaped(str(name)) for name in words.columns]
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(text: str) -> str:
    """Text that a cell of Markdown shows as it is."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())


def with_interval(mean: float, low: float, high: float) -> str:
    """A mean and its interval, to two digits of the interval's half width: "0.912 [0.903, 0.921]"."""
    if math.isnan(mean):
        return "-"
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return number(mean)
    digits = max(0, 1 - math.floor(math.log10((high - low) / 2)))
    return f"{mean:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


def number(value: float | None) -> str:
    """A number in four digits; a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:,.4g}"


def count(value: float | None) -> str:
    """A whole number; a dash for none."""
    return "-" if value is None or math.isnan(value) else f"{value:,.0f}"


def runs_table(parts: Sequence[Section]) -> pd.DataFrame:
    """All runs of all sections, a row each: what `table.csv` holds."""
    names = ["run_id", "status", "group", "seed", "phase", "trial", "result", "opt_steps", "examples", "grad_evals"]
    names += ["wall_s", "elapsed_s", "memory_mb", "parameters", "digest", "host", "started", "path", "command"]
    frames = []
    for part in parts:
        ids = set(part.runs.run_id)
        rows = pd.concat([part.runs, part.search[~part.search.run_id.isin(ids)]])
        frames.append(rows[names].assign(section=part.title, metric=part.metric, direction=part.direction))
    frame = pd.concat(frames, ignore_index=True)
    return frame[["section", "metric", "direction", *names]].replace({np.inf: np.nan, -np.inf: np.nan})
