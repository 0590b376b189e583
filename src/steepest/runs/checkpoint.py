"""Checkpoints on disk: written whole, the ones before kept, and the newest that can be read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from steepest.runs.files import write_atomically
from steepest.runs.folder import RunFolder

LAST = "last.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or not there, whatever interrupts the write; `last.ckpt` with those before it.

    Lightning's own go through the temporary folder, and tore the good file when that lay on another file system.

    Args:
        keep: how many of the latest full checkpoints stay, `last.ckpt` among them; None: all.
    """

    def __init__(self, keep: int | None = None) -> None:
        self.keep = keep
        self.step_of_last: int | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write beside the target, then rename; an older `last.ckpt` becomes `step-<its step>.ckpt`."""
        path = Path(path)
        if path.name != LAST:
            write_atomically(path, lambda file: torch.save(checkpoint, file))
            return
        write_atomically(path, lambda file: torch.save(checkpoint, file), before=lambda: self._give_way(path))
        self.step_of_last = checkpoint["run"]["opt_step"]
        if self.keep is not None:
            for old in before_last(path.parent)[self.keep - 1 :]:
                old.unlink()

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As torch; remembers the step, by which the file is called when the next one takes its place."""
        checkpoint = super().load_checkpoint(path, *args, **kwargs)
        if Path(path).name == LAST:
            self.step_of_last = checkpoint["run"]["opt_step"]
        return checkpoint

    def _give_way(self, last: Path) -> None:
        if self.step_of_last is not None:
            last.rename(last.with_name(f"step-{self.step_of_last}.ckpt"))


def before_last(folder: Path) -> list[Path]:
    """The full checkpoints that are older than `last.ckpt`, the newest first."""
    found = {int(number): file for file in folder.glob("step-*.ckpt") if (number := file.stem[5:]).isdigit()}
    return [found[step] for step in sorted(found, reverse=True)]


@dataclass(frozen=True)
class Position:
    """Where a cut run goes on."""

    checkpoint: Path | None
    """`last.ckpt`; None: at the beginning."""
    opt_step: int
    metrics_bytes: int
    """The length of the metrics then."""
    remarks: list[str]
    """What was wrong with newer checkpoints."""


def newest(folder: RunFolder) -> Position:
    """The newest checkpoint that can be used, as `last.ckpt`; a newer one that cannot is replaced by it.

    They are read whole, since only that shows whether they are.
    """
    last = folder.checkpoint("last")
    remarks: list[str] = []
    for file in (last, *before_last(last.parent)):
        if not file.exists():
            continue
        try:
            # weights_only: unpickling anything else could run code.
            run = torch.load(file, map_location="cpu", weights_only=True)["run"]
            step, size = run["opt_step"], run["metrics_bytes"]
        except Exception as error:  # torch raises many kinds for a damaged file
            remarks.append(f"{file.name} does not load ({type(error).__name__})")
            continue
        if folder.synced_bytes() < size:
            remarks.append(f"{file.name} is ahead of metrics.jsonl, which lacks rows")
            continue
        if file != last:
            file.replace(last)
        return Position(last, step, size, remarks)
    return Position(None, 0, 0, remarks)
