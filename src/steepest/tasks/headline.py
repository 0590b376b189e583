"""The one metric of a task, read from a configuration."""

import importlib
from collections.abc import Mapping
from typing import Any

from steepest.targets import target


def headline(cfg: Mapping[Any, Any]) -> tuple[str, str]:
    """The name of the task's one metric, and "max" or "min".

    Args:
        cfg: a configuration with the node `task`.
    """
    kind = target(cfg["task"], "task")
    if hasattr(kind, "headline"):
        return kind.headline
    # A task whose metric depends on a value of its node says so in a table beside the class.
    table = importlib.import_module(kind.__module__).HEADLINES
    return next(table[value] for value in cfg["task"].values() if value in table)
