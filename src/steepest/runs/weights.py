"""Weights out of a checkpoint, into a model."""

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

from steepest.errors import ConfigError
from steepest.runs.folder import find_run


def checkpoint_of(source: str, runs_dir: str, which: str = "last") -> Path:
    """The checkpoint file that `source` names: a file, a run folder, or a run id below `runs_dir`.

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(source)
    if not path.is_file():
        path = find_run(source, runs_dir).checkpoint(which)
    if not path.is_file():
        raise ConfigError(f"{source!r} has no checkpoint {path.name}; allowed is a run that has saved one.")
    return path


def state_of(file: Path) -> dict[str, Tensor]:
    """The tensors of a task in its checkpoint, by name.

    Raises:
        ConfigError: the file is no checkpoint of ours.
    """
    try:
        # weights_only: a checkpoint can be anyone's file, and unpickling runs code.
        state: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except Exception as error:
        raise ConfigError(f"{file} cannot be read as a checkpoint ({type(error).__name__}).") from None
    return state


def model_weights(file: Path) -> dict[str, Tensor]:
    """The model's tensors in a checkpoint, by name.

    Raises:
        ConfigError: the file is no checkpoint of ours.
    """
    return {name.removeprefix("model."): value for name, value in state_of(file).items() if name.startswith("model.")}


def weights_digest(file: Path) -> str:
    """Twelve hexadecimal digits of the SHA-256 over names, types and values of the model's tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(model_weights(file).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]


def load_weights(model: nn.Module, file: Path) -> None:
    """Copy a checkpoint's model weights into a model of the same shape.

    Raises:
        ConfigError: the file is no checkpoint of ours, or names and shapes differ.
    """
    try:
        model.load_state_dict(model_weights(file))
    except RuntimeError as error:
        differences = " ".join(str(error).split())
        raise ConfigError(f"{file} holds the weights of another model than this one: {differences[:300]}") from None


def load_task(task: nn.Module, file: Path) -> None:
    """Copy a checkpoint's weights into a task: those of its model, and what else it keeps (a GAN's mean generator).

    Raises:
        ConfigError: the file is no checkpoint of ours, or names and shapes of the model differ.
    """
    load_weights(task.get_submodule("model"), file)
    beside = {name: value for name, value in state_of(file).items() if not name.startswith("model.")}
    task.load_state_dict(beside, strict=False)
