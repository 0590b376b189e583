"""One folder a run: its configuration, status, metrics, summary, checkpoints and log."""

import json
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from steepest.errors import ConfigError
from steepest.runs.files import read_json, strict, write_atomically, write_json


class Diverged(Exception):
    """The loss is no longer a finite number: a result, not a fault."""


@dataclass
class RunFolder:
    """`<runs_dir>/<run id>/`. Beside it only checkpoints, loggers and predictions are written there."""

    path: Path
    _metrics: TextIO | None = field(default=None, repr=False)

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, each with `opt_step`; only ever appended to."""
        return self.path / "metrics.jsonl"

    @property
    def log_file(self) -> Path:
        """What was said while the run went on, library warnings included."""
        return self.path / "log.txt"

    @property
    def status(self) -> dict[str, Any]:
        """The record of `status.json`; empty for a new folder."""
        return read_json(self.path / "status.json")

    @property
    def summary(self) -> dict[str, Any]:
        """The record of `summary.json`; empty until the run has ended."""
        return read_json(self.path / "summary.json")

    @property
    def next_attempt(self) -> int:
        """The number of the attempt that would begin now, from 1."""
        return self.status.get("attempt", 0) + 1

    def checkpoint(self, which: str) -> Path:
        """The checkpoint of the `last` model, or of the `best` on validation."""
        return self.path / "checkpoints" / f"{which}.ckpt"

    def set_aside(self) -> None:
        """Move what an earlier attempt left into `attempts/<n>/`."""
        if not self.status:
            return
        place = self.path / "attempts" / str(self.status["attempt"])
        place.mkdir(parents=True)
        for item in self.path.iterdir():
            if item.name != "attempts":
                item.rename(place / item.name)

    def begin(self, config: Mapping[str, Any], **record: Any) -> None:
        """Set aside what an earlier attempt left; write the configuration and the status `running`.

        Raises:
            ConfigError: the folder cannot be written.
        """
        text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
        attempt = self.next_attempt
        try:
            self.set_aside()
            write_atomically(self.config_file, lambda file: file.write(text.encode()))
            write_json(
                self.path / "status.json",
                {
                    "status": "running",
                    "attempt": attempt,
                    "started": now(),
                    "command": shlex.join(sys.orig_argv),
                    "host": platform.node(),
                    "pid": os.getpid(),
                    **record,
                },
            )
        except OSError as error:
            raise ConfigError(f"paths.runs_dir: {self.path} cannot be written ({error.strerror}).") from None

    def end(self, status: str, reason: str | None = None) -> None:
        """Write how the attempt ended."""
        if self._metrics:
            self._metrics.close()
            self._metrics = None
        write_json(self.path / "status.json", {**self.status, "status": status, "reason": reason, "ended": now()})

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Note how the body ends: finished, diverged, preempted, or failed with the reason. A fault goes on upwards."""
        try:
            yield
        except Diverged as result:
            self.end("diverged", str(result))
        except KeyboardInterrupt:
            self.end("preempted", "interrupted from the keyboard")
            raise
        except SystemExit as stop:
            self.end("preempted", "ended from outside")
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from None  # Lightning's own code would say success
        except BaseException as fault:
            self.end("failed", f"{type(fault).__name__}: {fault}")
            raise
        else:
            self.end("finished")

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row to the metrics; it is on its way to disk when this returns."""
        if self._metrics is None:
            self._metrics = self.metrics_file.open("a")
        self._metrics.write(json.dumps(strict(dict(row)), allow_nan=False) + "\n")
        self._metrics.flush()

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.path / "summary.json", dict(summary))


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def find_run(name: str, runs_dir: str = "runs") -> RunFolder:
    """The run folder of this path, or of this id (or its beginning) below `runs_dir`.

    Raises:
        ConfigError: there is none, or several begin so.
    """
    ids = sorted(Path(runs_dir).glob(f"{name}*")) if re.fullmatch("r[0-9a-f]{1,11}", name) else []
    candidates = [Path(name)] if Path(name).is_dir() else ids
    found = [path for path in candidates if (path / "config.yaml").is_file()]
    if len(found) != 1:
        what = "is no run folder" if not found else f"fits {len(found)} runs"
        raise ConfigError(f"{name!r} {what}; allowed is a folder with a config.yaml, or a run id below {runs_dir}/.")
    return RunFolder(found[0])
