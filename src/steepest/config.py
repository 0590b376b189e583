"""Where the configuration lives, and how one is composed outside the command line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf, open_dict


def conf_dir() -> Path:
    """The `conf/` folder: inside an installed package, or beside `src/` in a checkout."""
    package = Path(__file__).parent
    return package / "conf" if (package / "conf").is_dir() else package.parents[1] / "conf"


def compose(overrides: list[str] | None = None) -> DictConfig:
    """The configuration of `train.py` under these overrides, as `train` receives it."""
    caller = GlobalHydra.instance().hydra  # Hydra composes for one at a time, and a run or a sweep may be inside of it
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = hydra_compose("config", [spelled_out(text) for text in overrides or []], return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = caller
    choices = cfg.hydra.runtime.choices
    with open_dict(cfg):
        del cfg["hydra"]
    return with_choices(cfg, choices)


def with_choices(cfg: DictConfig, choices: Mapping[str, Any]) -> DictConfig:
    """Add `choices`: the name chosen in each config group (`optimizer: adamw`), for names and tags."""
    with open_dict(cfg):
        cfg.choices = {group: name for group, name in choices.items() if not group.startswith("hydra/")}
    return cfg


TUNED = {"true": "${experiment}-${optimizer}", "false": "none"}


SHORT = {"devices": "trainer.devices", "nodes": "trainer.num_nodes"}
"""Words of the command line for keys that are long to type."""


def spelled_out(override: str) -> str:
    """A word of the command line as Hydra wants it: `devices=2` with its whole key, and of `tuned=true` the value.

    That is the name of a value of the group `tuned`, those of the experiment and the optimizer.
    """
    key, equals, values = override.partition("=")
    if key == "tuned":
        return f"tuned={','.join(TUNED.get(value, value) for value in values.split(','))}"
    return f"{SHORT.get(key, key)}{equals}{values}"


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, interpolations resolved; a missing value raises."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def quoted(text: str) -> str:
    """Text as Hydra reads it back, whatever it says: a contender may be called null, and a folder 2026.

    Hydra takes backslashes for what they are but before a quote and at the end.
    """
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text) + "'"
