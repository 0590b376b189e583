"""Unknown keys and values of the configuration, with the nearest that exist."""

import re
from collections.abc import Iterator, Sequence
from functools import partial

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from steepest.config import compose, conf_dir
from steepest.errors import did_you_mean, listed, near, shown

COMBINED = ("callbacks", "logger")
"""Groups of which several values may be chosen at once."""

HIDDEN = ("run", "study", "choices")
"""Nodes that are not for the command line."""

OF_STUDIES = ("search", "recommended", "recommended/schedule")
"""Folders of conf/ that a run does not choose from."""


def values_of(group: str) -> list[str]:
    """The values of a group; none where it is no group."""
    if not group or group in OF_STUDIES:
        return []
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml"))


def unknown_value(file: str, names: Sequence[str]) -> str:
    """The sentence for a file `group/name` that does not exist, among those that do."""
    group, _, name = file.rpartition("/")
    if group == "tuned":
        lacks = "needs an experiment" if name.startswith("None-") else f"finds no values for {name}"
        return f"tuned=true {lacks}; allowed are {', '.join(word for word in names if word != 'none')}, or tuned=false."
    return f"{group}={shown(name)} is unknown;{did_you_mean(near(name, names))} allowed are {', '.join(names)}."


def unknown_key(key: str, arguments: Sequence[str]) -> str:
    """The sentence for a key that the configuration of these arguments does not have."""
    if key.startswith("hydra."):
        return f"{key} is unknown; allowed are the keys that --cfg hydra shows."
    group, _, name = key.rpartition(".")
    words = [word for word in arguments if not word.startswith(("-", "~")) and "." not in word.partition("=")[0]]
    own = composed([word for word in words if "=" in word and word.partition("=")[0] != key])
    cfg = own or composed([])
    known = _known(cfg, group)
    if name in known:
        return f"~{key} is not possible, since it is null; allowed is a value."
    if own and group in own.choices:
        belongs = _values_with(group, name)
        meant = did_you_mean([f"{group}.{word}" for word in near(name, known)])
        elsewhere = f"; {name} belongs to {listed(belongs)}" if belongs and not meant else ""
        has = f"{group}={own.choices[group]} has {listed(known) if known else 'no keys'}{elsewhere}."
        return f"{key} is unknown;{meant} {has}"
    if not known:
        return f"{key} is unknown; {group} is a single value."
    return f"{key} is unknown;{did_you_mean(nearest_keys(key, cfg)) or f' allowed are {listed(known)}.'}"


def nearest_keys(key: str, cfg: DictConfig | None) -> list[str]:
    """Keys that may have been meant: siblings, then keys of this name anywhere, then whatever looks alike."""
    if cfg is None:
        return []
    group, _, name = key.rpartition(".")
    every = list(_dotted(cfg))
    siblings = [f"{group}.{word}".lstrip(".") for word in near(name, _known(cfg, group))]
    return siblings or [word for word in every if word.rpartition(".")[2] == name][:3] or near(key, every, cutoff=0.75)


def _known(cfg: DictConfig | None, group: str) -> list[str]:
    node = OmegaConf.select(cfg, group) if cfg is not None and group else cfg
    keys = map(str, node) if isinstance(node, DictConfig) else ()
    return [key for key in keys if not key.startswith("_") and not (group == "" and key in HIDDEN)]


def _dotted(cfg: DictConfig, above: str = "") -> Iterator[str]:
    for key in _known(cfg, above):
        full = f"{above}.{key}".lstrip(".")
        yield full
        yield from _dotted(cfg, full)


def _values_with(group: str, name: str) -> list[str]:
    """The values of a group whose file has this key."""
    has = partial(re.search, rf"^{re.escape(name)}:", flags=re.MULTILINE)
    return sorted(file.stem for file in (conf_dir() / group).glob("*.yaml") if has(file.read_text()))


def composed(words: list[str]) -> DictConfig | None:
    """The configuration of these words; None where they hold a mistake too."""
    try:
        return compose(words)
    except (HydraException, ValueError):
        return None
