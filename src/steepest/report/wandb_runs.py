"""Runs read back from Weights & Biases by its public API, into the tables that `report.runs` makes of run folders."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from steepest.errors import ConfigError
from steepest.report.runs import COLUMNS, LEFT_OUT, NUMBERS, STUDY, Runs, flat, frame_of, is_number, mapping, rank

STATES = {"finished": "finished", "running": "running", "pending": "running"}
"""W&B's word for what became of a run that has not said it itself; any other is a failure."""

NO_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How W&B's server writes what JSON does not have."""

NOT_MEASURED = (LEFT_OUT, "headline/", "pictures/")
"""Beginnings of names with a slash that are no metrics."""


def load(path: str, api: Any = None, filters: Mapping[str, Any] | None = None) -> Runs:
    """Read the runs of a W&B project.

    Of several attempts at a run the one that ended counts, and of these the last that began. Of two rows of the same
    step and the same metrics the later one counts: an attempt that went on from a checkpoint has sent some steps twice.

    Args:
        path: entity/project.
        api: what gives runs as `wandb.Api()` does; None: that one.
        filters: in MongoDB's words, as `wandb.Api().runs` takes them, such as {"group": "domains/gan/adam"}.

    Raises:
        ConfigError: a path of another form, no API key, a server that does not answer, or no run.
    """
    entity, _, project = path.partition("/")
    if not entity or not project or "/" in project:
        raise ConfigError(f"--wandb={path} is not possible; allowed is entity/project.")
    kept: dict[str, tuple[dict[str, Any], Any]] = {}
    sent = 0
    try:
        for run in (api or public_api()).runs(path, filters=dict(filters or {}), lazy=False):
            if not (run.config.get("run") or run.summary_metrics.get("run_id")):
                continue  # sent by another program
            sent += 1
            one = record(run), run
            other = kept.setdefault(one[0]["run_id"], one)
            kept[one[0]["run_id"]] = max(other, one, key=lambda pair: rank(pair[0]))
        metrics = frame_of([row for about, run in kept.values() for row in rows(about["run_id"], run.scan_history())])
    except ConfigError:
        raise
    except Exception as error:  # wandb's, its transport's or pydantic's, by what went wrong
        from steepest.runs.wandb_run import without_key

        raise ConfigError(f"--wandb={path} cannot be read: {without_key(error).rstrip('.')}.") from None
    if not kept:
        raise ConfigError(f"--wandb={path} has no run of steepest; allowed is a project that runs were sent to.")
    runs = pd.DataFrame([about for about, _ in kept.values()], columns=[*COLUMNS])
    for name in NUMBERS:
        runs[name] = pd.to_numeric(runs[name], errors="coerce").astype(float)
    older = sent - len(kept)
    notes = (f"{older} older attempt{'s' * (older > 1)} at the same runs left out.",) if older else ()
    return Runs(runs, metrics, notes)


def public_api() -> Any:
    """W&B's own.

    Raises:
        ConfigError: there is no API key.
    """
    import wandb

    from steepest.runs.wandb_run import has_key

    if not has_key():
        raise ConfigError("There is no API key for W&B; allowed is the environment's WANDB_API_KEY or `wandb login`.")
    return wandb.Api()


def record(run: Any) -> dict[str, Any]:
    """What W&B knows of a run, with `COLUMNS`."""
    config, summary = dict(run.config), {key: number(value) for key, value in run.summary_metrics.items()}
    part, settings, headline = (
        mapping(config.get("study")),
        mapping(config.get("run")),
        mapping(summary.get("headline")),
    )
    aside = ("study", "run", "paths", "entries", "_wandb")
    return {
        **dict.fromkeys(COLUMNS),
        **summary,
        **{name: part.get(name) for name in STUDY},
        "study": part.get("name"),
        "run_id": str(summary.get("run_id") or settings.get("id") or run.id),
        "path": run.url,
        "name": run.name,
        "status": summary.get("status") or STATES.get(run.state, "failed"),
        "seed": config.get("seed"),
        "digest": summary.get("source_digest"),
        **{name: headline.get(name) for name in ("metric", "value", "direction")},
        "config": flat({key: value for key, value in config.items() if key not in aside}),
        "metrics": {
            key: value
            for key, value in summary.items()
            if "/" in key and not key.startswith(NOT_MEASURED) and is_number(value)
        },
    }


def rows(run_id: str, history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a run's metrics, in their order; pictures and W&B's own columns left out."""
    kept: dict[Any, dict[str, Any]] = {}
    for raw in history:
        row = {key: number(value) for key, value in raw.items() if not key.startswith(("_", LEFT_OUT))}
        row = {key: value for key, value in row.items() if is_number(value)}
        if "opt_step" in row:
            key = (row["opt_step"], *sorted(row))
            kept.pop(key, None)  # the later one stands where it came
            kept[key] = {"run_id": run_id, **row}
    return list(kept.values())


def number(value: Any) -> Any:
    """The number that W&B's server has written as a word; anything else as it is."""
    return NO_NUMBERS.get(value, value) if isinstance(value, str) else value
