"""One folder a run: its configuration, status, metrics, summary, checkpoints and log."""

import json
import os
import platform
import re
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from omegaconf import OmegaConf

from steepest.errors import ConfigError
from steepest.runs.commit import commit
from steepest.runs.files import read_json, strict, write_atomically, write_json
from steepest.runs.lock import is_held, lock

STAYS = ("attempts", "lock")
"""What is no part of an attempt."""


class Diverged(Exception):
    """The loss is no longer a finite number: a result, not a fault."""


class Preempted(Exception):
    """The run was asked from outside to end, and has saved where it is.

    Args:
        reason: who asked.
        code: the process' exit code, 128 and the signal's number.
    """

    def __init__(self, reason: str, code: int) -> None:
        super().__init__(reason)
        self.code = code


@dataclass
class RunFolder:
    """`<runs_dir>/<run id>/`. Beside it only checkpoints, loggers, pictures and predictions are written there."""

    path: Path
    _metrics: TextIO | None = field(default=None, repr=False)

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line, each with `opt_step`; only ever appended to, and cut back by a resume."""
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
    def has_result(self) -> bool:
        """Whether the run has come to its end; a divergence is one."""
        return self.status.get("status") in ("finished", "diverged")

    @property
    def running(self) -> bool:
        """Whether a living process works in this folder."""
        return is_held(self.path / "lock")

    @property
    def next_attempt(self) -> int:
        """The number of a new attempt, from 1."""
        aside = [int(place.name) for place in self.path.glob("attempts/*") if place.name.isdigit()]
        return max([self.status.get("attempt", 0), *aside]) + 1

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the metrics; a last line that was cut off in the middle is left out."""
        if not self.metrics_file.exists():
            return []
        return [json.loads(line) for line in self.metrics_file.read_text().splitlines(keepends=True) if "\n" in line]

    def checkpoint(self, which: str) -> Path:
        """The checkpoint of the `last` model, or of the `best` on validation."""
        return self.path / "checkpoints" / f"{which}.ckpt"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder while the body runs; it is made if need be.

        Raises:
            ConfigError: another living process is in it, or it cannot be written.
        """
        with ExitStack() as stack:
            with self._writable():
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock(self.path / "lock"))
                for torn in self.path.rglob(".*.tmp"):  # of a writer that was killed
                    torn.unlink()
            yield

    def set_aside(self) -> None:
        """Move what an earlier attempt left into `attempts/<n>/`, its status last: cut off, this can be done again."""
        attempt = self.status.get("attempt")
        if attempt is None:
            return
        place = self.path / "attempts" / str(attempt)
        place.mkdir(parents=True, exist_ok=True)
        for item in sorted(self.path.iterdir(), key=lambda item: item.name == "status.json"):
            if item.name not in STAYS:
                item.rename(place / item.name)

    def begin(self, config: Mapping[str, Any], **record: Any) -> None:
        """Set aside what an earlier attempt left; write the configuration and the status `running`.

        Raises:
            ConfigError: the folder cannot be written.
        """
        attempt = self.next_attempt
        with self._writable():
            self.set_aside()
            self._write_config(config)
            begun = {"status": "running", "attempt": attempt, "started": now(), "resumed": []}
            write_json(self.path / "status.json", {**begun, **process(), **record})

    def go_on(self, config: Mapping[str, Any], opt_step: int, metrics_bytes: int, **record: Any) -> None:
        """Go back to a checkpoint's step: cut the metrics to its rows, and write the status `running`.

        The configuration is written again, since what decides no result may differ from the first command's.

        Raises:
            ConfigError: the folder cannot be written.
        """
        status = self.status
        with self._writable():
            if self.metrics_file.exists():
                os.truncate(self.metrics_file, metrics_bytes)
            (self.path / "summary.json").unlink(missing_ok=True)
            self._write_config(config)
            resumed = [*status.get("resumed", []), {"at": now(), "opt_step": opt_step}]
            kept = {key: value for key, value in status.items() if key not in ("reason", "ended")}
            going = {**kept, "status": "running", "resumed": resumed, **process(), **record}
            write_json(self.path / "status.json", going)

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
        except Preempted as stop:
            self.end("preempted", str(stop))
            raise SystemExit(stop.code) from None
        except KeyboardInterrupt:
            self.end("preempted", "interrupted from the keyboard, at once")
            raise
        except SystemExit as stop:
            self.end("preempted", "ended from outside, at once")
            raise SystemExit(stop.code or 128 + signal.SIGTERM) from None  # Lightning's own code would say success
        except BaseException as fault:
            self.end("failed", f"{type(fault).__name__}: {fault}")
            raise
        else:
            self.end("finished")

    def append(self, row: Mapping[str, float]) -> None:
        """Add a row to the metrics; a crash of this process does not lose it."""
        if self._metrics is None:
            self._metrics = self.metrics_file.open("a")
        self._metrics.write(json.dumps(strict(dict(row)), allow_nan=False) + "\n")
        self._metrics.flush()

    def synced_bytes(self) -> int:
        """The length of the metrics, all of it safe on disk: a crash of the machine does not lose it."""
        if self._metrics is None:
            return self.metrics_file.stat().st_size if self.metrics_file.exists() else 0
        os.fsync(self._metrics.fileno())
        return os.fstat(self._metrics.fileno()).st_size

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        write_json(self.path / "summary.json", dict(summary))

    def _write_config(self, config: Mapping[str, Any]) -> None:
        text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
        write_atomically(self.config_file, lambda file: file.write(text.encode()))

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"paths.runs_dir: {self.path} cannot be written ({error.strerror}); allowed is a writable folder."
            ) from None


def process() -> dict[str, Any]:
    """What tells the process that runs an attempt."""
    at = {"host": platform.node(), "pid": os.getpid()}
    return {"command": shlex.join(sys.orig_argv), "commit": commit(), **at}


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
