"""What W&B is told of a run: values where its tables, filters and panels find them. Nothing here needs wandb."""

from collections.abc import Mapping
from typing import Any

LONGEST = {"group": 128, "job_type": 64, "tag": 64}
"""Characters that W&B takes; it refuses the run for a longer tag or group."""


def columns(status: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """A run's summary for W&B's tables, filters and parallel coordinates, which want one number under one name.

    Beside what `summary.json` has, its metrics by their own names: `headline/last` and `headline/best`, which have the
    same name in every task, `diverged` (0 or 1), `step_ms` and `examples_per_s`.
    """
    metrics, headline = summary.get("metrics", {}), summary.get("headline", {})
    found = {**metrics, **{key: value for key, value in summary.items() if key != "metrics"}}
    found |= {"status": status, "diverged": int(status == "diverged")}
    if status == "diverged" and "metric" in headline:
        found[headline["metric"]] = None  # not the last good value, which tables and sweeps would take for a result
    numbers = {"headline/last": headline.get("value"), "headline/best": metrics.get(f"best/{headline.get('metric')}")}
    seconds, steps = summary.get("wall_s"), summary.get("opt_steps")
    if seconds and steps:
        numbers |= {"step_ms": 1000 * seconds / steps, "examples_per_s": summary.get("examples", 0) / seconds}
    return found | {key: value for key, value in numbers.items() if value is not None}


def origin(status: Mapping[str, Any]) -> dict[str, Any]:
    """What `status.json` says of where a run came from: comparisons on W&B need it, and W&B has no place for it."""
    return {key: status[key] for key in ("source_digest", "command", "host", "started") if key in status}


def job_type(config: Mapping[str, Any]) -> str:
    """The phase of a study that a run belongs to, by which W&B sets it apart from others of its group; else train."""
    return str((config.get("study") or {}).get("phase") or "train")


def within(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `wandb.init`, cut to the lengths that W&B takes."""
    cut = {key: options[key][: LONGEST[key]] for key in ("group", "job_type") if options.get(key)}
    return {**options, **cut, "tags": [tag[: LONGEST["tag"]] for tag in options.get("tags") or [] if tag]}


def entries(config: Mapping[str, Any]) -> dict[str, Any]:
    """`{"entries": {"betas_0": 0.9, "betas_1": 0.999}}`: W&B's panels take no entries out of an optimizer's lists."""
    lists = {key: value for key, value in (config.get("optimizer") or {}).items() if isinstance(value, list | tuple)}
    found = {f"{key}_{place}": one for key, value in lists.items() for place, one in enumerate(value)}
    return {"entries": found} if found else {}
