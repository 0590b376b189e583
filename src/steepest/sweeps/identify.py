"""The runs that the jobs of a sweep mean, for thousands of jobs. Nothing here imports torch."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from steepest import schema
from steepest.config import resolved, with_choices
from steepest.launchers.processes import cores, gpus
from steepest.runs.folder import RunFolder
from steepest.runs.identity import identify, source_digest

Given = Callable[[Mapping[str, Any]], list[str]]
"""A launcher's `given`: overrides that each of its jobs gets, from the job's configuration."""


@dataclass(frozen=True)
class PlannedJob:
    """A job, and the run that it means."""

    overrides: list[str]
    """All of them, those of the launcher included."""
    config: Mapping[str, Any]
    run_id: str
    digest: str
    """Of the source that decides the result, as it is now."""

    @property
    def folder(self) -> RunFolder:
        """The run's folder, there or not."""
        return RunFolder(Path(self.config["paths"]["runs_dir"]) / self.run_id)


@dataclass(frozen=True)
class _Base:
    """What the jobs of one combination of choices have in common."""

    config: dict[str, Any]
    digest: str
    mentioned: frozenset[str]
    """Words inside of interpolations: a key of such a name may decide others."""


class Identifier:
    """Finds the run of each job.

    Composing takes a tenth of a second. So each combination of choices is composed once, and what else the jobs differ
    in is set in the result, where it is a plain value that no other value refers to.

    Args:
        loader: Hydra's.
        primary: the configuration of the sweep, with its `hydra` node.
        given: see `Given`; None: nothing. What it leaves open is as a run alone settles it.
    """

    def __init__(self, loader: ConfigLoader, primary: DictConfig, given: Given | None) -> None:
        self.loader, self.primary, self.given = loader, primary, given
        self.parser = OverridesParser.create(config_loader=loader)
        self._parsed: dict[str, tuple[Override, bool]] = {}
        self._groups: dict[str, bool] = {}
        self._bases: dict[tuple[str, ...], _Base] = {}
        self._checked: set[tuple[int, str]] = set()
        data_dir = Path(str(primary.paths.data_dir)).absolute()
        self._paths = {"data_dir": str(data_dir)}

    def identify(self, overrides: Sequence[str]) -> PlannedJob:
        """The job of these overrides.

        Raises:
            ConfigError: what they say is not possible.
        """
        base, config = self._configured([self._override(word) for word in overrides])
        words = [*overrides]
        for source in filter(None, (self.given, alone)):
            for word in source(config):
                override, _ = self._override(word)
                config = _with(config, override.key_or_group.split("."), override.value())
                words.append(word)
        config["paths"] = {**config["paths"], **self._paths}  # as a run's own record says it
        return PlannedJob(words, config, identify(config), base.digest)

    def _override(self, word: str) -> tuple[Override, bool]:
        """An override, and whether it may be plain."""
        if word not in self._parsed:
            override = self.parser.parse_override(word)
            self._parsed[word] = override, self._may_be_plain(override)
        return self._parsed[word]

    def _configured(self, overrides: Sequence[tuple[Override, bool]]) -> tuple[_Base, dict[str, Any]]:
        """The resolved configuration of a job, and the one that it differs from in plain values only."""
        plain = [one for one, may_be in overrides if may_be]
        rest = [str(one.input_line) for one, may_be in overrides if not may_be]
        base = self._base(rest)
        if deciding := [one for one in plain if not _is_plain(one, base)]:
            plain = [one for one in plain if _is_plain(one, base)]
            base = self._base([*rest, *(str(one.input_line) for one in deciding)])
        config = dict(base.config)
        for one in plain:
            config = _with(config, one.key_or_group.split("."), one.value())
        if new := {(id(base), str(one.input_line)) for one in plain} - self._checked:
            schema.check_resolved(config)  # each value once: a thousandth of a second for each job adds up
            self._checked |= new
        return base, config

    def _may_be_plain(self, override: Override) -> bool:
        """Whether an override only sets a value that is one number, truth value or text."""
        if override.is_delete() or override.is_add() or override.package is not None or override.is_sweep_override():
            return False
        value = override.value()
        if not (value is None or isinstance(value, bool | int | float | str)) or "${" in str(value):
            return False
        key = override.key_or_group
        if key not in self._groups:  # Hydra takes milliseconds to look
            self._groups[key] = bool(self.loader.get_group_options(key))
        return not self._groups[key]

    def _base(self, words: list[str]) -> _Base:
        if (key := tuple(words)) not in self._bases:
            cfg = self.loader.load_sweep_config(self.primary, words)
            choices = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg["hydra"]
            with_choices(cfg, choices)
            schema.check(cfg)
            config = resolved(cfg)
            mentioned = frozenset(_mentioned(OmegaConf.to_container(cfg, resolve=False)))
            self._bases[key] = _Base(config, source_digest(config), mentioned)
        return self._bases[key]


def alone(config: Mapping[str, Any]) -> list[str]:
    """What a run alone makes of null threads and of an accelerator `auto`, as overrides."""
    trainer = config["trainer"]
    words = []
    accelerator = trainer["accelerator"]
    if accelerator == "auto":
        accelerator = "gpu" if gpus() else "cpu"
        words.append(f"trainer.accelerator={accelerator}")
    if config["threads"] is None:
        share = cores() // trainer["devices"] if accelerator == "cpu" else cores()
        words.append(f"threads={max(1, share)}")
    return words


def _is_plain(override: Override, base: _Base) -> bool:
    """Whether an override replaces one value that is there, and that no other value refers to."""
    *parents, name = override.key_or_group.split(".")
    node: Any = base.config
    for parent in parents:
        if not isinstance(node, Mapping) or parent not in node:
            return False
        node = node[parent]
    there = isinstance(node, Mapping) and name in node and not isinstance(node[name], Mapping | list)
    return there and name != "_target_" and base.mentioned.isdisjoint([*parents, name])


def _with(node: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    """A mapping with another value at a place; what is not on the way there is shared with the original."""
    first, *others = keys
    return {**node, first: _with(node[first], others, value) if others else value}


def _mentioned(node: Any) -> set[str]:
    """The words of all interpolations in a configuration."""
    if isinstance(node, Mapping):
        return set().union(*map(_mentioned, node.values()))
    if isinstance(node, list):
        return set().union(*map(_mentioned, node))
    return set(re.findall(r"\w+", " ".join(re.findall(r"\$\{[^}]*", node)))) if isinstance(node, str) else set()
