"""Runs as two tables, read from run folders alone: a row a run, and the rows of their metrics."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from steepest.errors import ConfigError, listed

STUDY = ("study", "scale", "row", "contender", "phase", "trial")
COLUMNS = (
    *("run_id", "path", "name", "status", "reason", *STUDY, "seed", "digest", "command", "host", "started"),
    *("metric", "value", "direction", "opt_steps", "examples", "grad_evals", "wall_s", "elapsed_s", "memory_mb"),
    *("parameters", "config", "metrics"),
)
NUMBERS = ("value", "opt_steps", "examples", "grad_evals", "wall_s", "elapsed_s", "memory_mb", "parameters")
AXES = ("opt_step", "examples", "grad_evals", "wall_s", "epoch")
LEFT_OUT = "layers/"
"""Metrics of single layers: many, and in no comparison of runs."""
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is ten times as fast


@dataclass(frozen=True)
class Runs:
    """What is known of some runs."""

    runs: pd.DataFrame
    """A row a run, with `COLUMNS`; `config` is flat ({"optimizer.lr": 0.001}), `metrics` maps a name to its value."""
    metrics: pd.DataFrame
    """A row for each of `metrics.jsonl`: run_id, the axes opt_step ... epoch, and a column a metric, NaN where the row
    does not have it."""
    notes: tuple[str, ...] = ()
    """What could not be read, in sentences."""


def load(paths: Sequence[str | Path], runs_dir: str | Path = "runs") -> Runs:
    """Read run folders.

    A folder that is cut off, such as one of a run that goes on, gives what there is of it; what cannot be read is said
    in the notes. The same run in two folders counts once: a copy is no further evidence.

    Args:
        paths: run folders, folders that hold run folders, or ids (or their beginnings) below `runs_dir`.
        runs_dir: where ids are looked for.

    Raises:
        ConfigError: a path is neither, or there is no run in any.
    """
    notes: list[str] = []
    found = {folder.resolve(): folder for path in paths for folder in run_folders(path, Path(runs_dir))}
    records = [record for folder in found.values() if (record := read_run(folder, notes))]
    if not records:
        where = listed([str(path) for path in paths], "or") if paths else str(runs_dir)
        raise ConfigError(f"{where} holds no run; allowed are run folders, folders of them, and run ids.")
    runs = pd.DataFrame(once(records, notes), columns=[*COLUMNS], dtype=object)
    for name in NUMBERS:
        runs[name] = pd.to_numeric(runs[name], errors="coerce").astype(float)
    rows = [row for path, name in zip(runs.path, runs.run_id, strict=True) for row in read_rows(path, name, notes)]
    return Runs(runs, frame_of(rows), tuple(notes))


def run_folders(path: str | Path, runs_dir: Path) -> Iterator[Path]:
    """The run folders that a path means.

    Raises:
        ConfigError: there are none.
    """
    folder = Path(path)
    if is_run(folder):
        yield folder
        return
    if folder.is_dir():
        inside = sorted(place for place in folder.iterdir() if is_run(place))
    else:
        inside = sorted(runs_dir.glob(f"{path}*")) if re.fullmatch("r[0-9a-f]{1,11}", str(path)) else []
        if len(inside) > 1:
            raise ConfigError(f"{path} fits {len(inside)} runs below {runs_dir}/; allowed is the beginning of one id.")
    if not inside:
        raise ConfigError(
            f"{path} is no run; allowed are a run folder, a folder that holds some, and a run id below {runs_dir}/."
        )
    yield from inside


def is_run(folder: Path) -> bool:
    """Whether a folder was made by a run."""
    return (folder / "config.yaml").is_file() or (folder / "status.json").is_file()


def read_run(folder: Path, notes: list[str]) -> dict[str, Any] | None:
    """The record of a run folder; None, and a note, where nothing of it can be read."""
    config = read(folder / "config.yaml", notes)
    status, summary = read(folder / "status.json", notes), read(folder / "summary.json", notes)
    if not (config or status or summary):
        notes.append(f"{folder} holds nothing that can be read, and is left out.")
        return None
    part = mapping(config.get("study"))
    headline, settings = mapping(summary.get("headline")), mapping(config.get("run"))
    return {
        **summary,
        **{name: status.get(name) for name in ("command", "host", "started", "reason")},
        **{name: part.get(name) for name in STUDY},
        "study": part.get("name"),
        "run_id": str(summary.get("run_id") or status.get("run_id") or settings.get("id") or folder.name),
        "path": str(folder),
        "name": str(summary.get("name") or settings.get("name") or folder.name),
        "status": str(status.get("status") or summary.get("status") or "running"),
        "seed": config.get("seed"),
        "digest": status.get("source_digest"),
        **{name: headline.get(name) for name in ("metric", "value", "direction")},
        "config": flat({key: value for key, value in config.items() if key not in ("study", "run", "paths")}),
        "metrics": {key: value for key, value in mapping(summary.get("metrics")).items() if is_number(value)},
    }


def read(file: Path, notes: list[str]) -> dict[str, Any]:
    """The mapping in a YAML or JSON file; empty if there is none, and with a note if it cannot be read."""
    try:
        text = file.read_text()
        return mapping(json.loads(text) if file.suffix == ".json" else yaml.load(text, LOADER))  # noqa: S506
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError):
        notes.append(f"{file} cannot be read, and is passed over.")
        return {}


def read_rows(path: str, run_id: str, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of a run's metrics without those of layers; a torn last line is left out, with a note."""
    file = Path(path) / "metrics.jsonl"
    try:
        *lines, torn = file.read_text().split("\n")
    except (OSError, ValueError):
        return []
    rows, bad = [], int(bool(torn))
    for line in lines:
        try:
            row = json.loads(line)
            rows.append({"run_id": run_id, **{key: row[key] for key in row if not key.startswith(LEFT_OUT)}})
        except (ValueError, TypeError, AttributeError):
            bad += 1
    if bad:
        notes.append(f"{file}: {bad} torn line{'s' * (bad > 1)} left out.")
    return rows


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows of metrics as a frame of numbers."""
    frame = pd.DataFrame.from_records(rows)
    for name in ("run_id", *AXES):
        if name not in frame:
            frame[name] = np.nan
    for name in frame.columns.drop("run_id"):
        frame[name] = pd.to_numeric(frame[name], errors="coerce").astype(float)
    return frame


def once(records: list[dict[str, Any]], notes: list[str]) -> list[dict[str, Any]]:
    """Each run id once: of copies the one that ended, and of these the last that began."""
    kept: dict[str, dict[str, Any]] = {}
    for record in records:
        other = kept.get(record["run_id"])
        if other is not None:
            record = max(other, record, key=rank)
            notes.append(f"{record['run_id']} stands in several folders; {record['path']} is taken.")
        kept[record["run_id"]] = record
    return list(kept.values())


def rank(record: Mapping[str, Any]) -> tuple[bool, str]:
    """What makes one copy of a run better than another."""
    return record["status"] in ("finished", "diverged"), str(record["started"] or "")


def flat(node: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys; lists stay whole."""
    entries: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            entries.update(flat(value, f"{prefix}{key}."))
        else:
            entries[f"{prefix}{key}"] = value
    return entries


def mapping(value: Any) -> dict[str, Any]:
    """The value, if it is a mapping; else an empty one."""
    return value if isinstance(value, dict) else {}


def is_number(value: Any) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def known(values: Iterable[Any]) -> list[Any]:
    """The different values that are there, in order of appearance."""
    return list(dict.fromkeys(value for value in values if value is not None and value == value))
