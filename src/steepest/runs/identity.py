"""What makes two runs the same: the configuration that decides the result, and the source that did it."""

import ast
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[1]

ASIDE = ("paths", "logger", "callbacks", "log", "checkpoint", "name", "force", "study", "run", "choices")
"""Parts of the configuration that change what is shown or where it lies, never the result."""

ASIDE_KEYS = ("eval_batch_size", "workers", "in_memory", "refuses", "needs_cuda")
"""Keys at any depth, of which the same is true."""

LIBRARIES = (
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "numpy",
    "scipy",
    "datasets",
    "scikit-learn",
    "pillow",
)

OPTIONAL = {
    "pytorch-optimizer": ("steepest.optimizers.library", "pytorch_optimizer"),
    "gymnasium": ("steepest.datasets.environments",),
    "tokenizers": ("steepest.datasets.text", "steepest.datasets.language"),
}
"""Libraries that decide the results of runs with `_target_`s in modules whose names begin so."""

WATCHERS = (
    "steepest.callbacks.diagnostics",
    "steepest.callbacks.norms",
    "steepest.callbacks.pictures",
    "steepest.callbacks.progress",
    "steepest.callbacks.steadiness",
    "steepest.launchers.child",
    "steepest.launchers.lines",
    "steepest.launchers.processes",
    "steepest.launchers.server",
    "steepest.launchers.warm",
    "steepest.runs.closing",
    "steepest.runs.commit",
    "steepest.runs.log",
    "steepest.runs.wandb_logger",
    "steepest.runs.wandb_run",
    "steepest.pictures",
    "steepest.report",
    "steepest.studies",
    "steepest.typical",
    "steepest.verdict",
)
"""Modules and packages that look on: their source is no part of the digest."""


def run_id(config: Mapping[str, Any]) -> str:
    """`r` and eleven hexadecimal digits of the SHA-256 of all in a resolved configuration that decides the result.

    The letter keeps `init_from=<id>` a word: Hydra reads 12345678901 as a number, and 1234567e890 as infinity.
    """
    deciding = {key: value for key, value in config.items() if key not in ASIDE}
    text = json.dumps(without_paths(deciding, config["paths"]), sort_keys=True)
    return f"r{hashlib.sha256(text.encode()).hexdigest()[:11]}"


def identify(config: Mapping[str, Any]) -> str:
    """The id of a run by its resolved configuration; weights to start from count by their content, not by their path.

    Raises:
        ConfigError: there are no such weights.
    """
    start = config["init_from"]
    if start:
        from steepest.runs.weights import checkpoint_of, weights_digest  # imports torch

        start = weights_digest(checkpoint_of(start, config["paths"]["runs_dir"]))
    return run_id({**config, "init_from": start})


def without_paths(node: Any, paths: Mapping[str, str]) -> Any:
    """The node with every folder of `paths` replaced by its key, and without `ASIDE_KEYS`."""
    if isinstance(node, Mapping):
        return {key: without_paths(value, paths) for key, value in node.items() if key not in ASIDE_KEYS}
    if isinstance(node, list):
        return [without_paths(value, paths) for value in node]
    if isinstance(node, str):
        for key, folder in sorted(paths.items(), key=lambda item: -len(item[1])):  # the innermost folder first
            if node == folder or node.startswith(f"{folder}/"):
                return f"<{key}>{node[len(folder) :]}"
    return node


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide a result."""
    installed = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return {"python": platform.python_version(), **installed}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def source_digest(config: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits over the versions and over the source that a configuration makes run.

    That source is the modules of its `_target_`s and of the training line, with all of this package that these import.
    """
    named = [*targets({k: v for k, v in config.items() if k not in ASIDE})]
    used = [name for name, homes in OPTIONAL.items() if any(module.startswith(homes) for module in named)]
    deciding = versions() | {name: _version(name) for name in used}
    digest = hashlib.sha256(json.dumps(deciding, sort_keys=True).encode())
    modules: dict[str, Path] = {}
    for target in ("steepest.fit", *named):
        collect(target, modules)
    for name in sorted(modules):
        digest.update(name.encode() + modules[name].read_bytes())
    return digest.hexdigest()[:12]


def targets(node: Any) -> Iterator[str]:
    """The `_target_`s of a configuration."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield node["_target_"].rpartition(".")[0]
        for child in node.values():
            yield from targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from targets(child)


def collect(name: str, modules: dict[str, Path]) -> None:
    """Add a module of this package, and those it imports, to `modules`."""
    if name in modules or not name.startswith("steepest.") or name.startswith(WATCHERS):
        return
    file = _source(name)
    if file is None:  # the name of a class or function, not of a module
        return
    modules[name] = file
    for imported in imports(modules[name], modules[name].stat().st_mtime_ns):
        collect(imported, modules)


@cache
def _source(name: str) -> Path | None:
    """The file of a module of this package; looked up without importing the packages it is in, as importlib would."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return next((file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()), None)


@cache
def imports(file: Path, changed: int) -> tuple[str, ...]:
    """The names of the modules that a source file imports, and of what it takes from them.

    Args:
        file: of Python.
        changed: when; a study's plan asks for the same files many times.
    """
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [*(f"{node.module}.{alias.name}" for alias in node.names), node.module]  # modules, or inside one
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return tuple(found)
