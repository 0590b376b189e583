"""Which objects a `_target_` may name: code that is run because a configuration says so."""

import os
from collections.abc import Mapping
from typing import Any

from hydra._internal.utils import _locate  # hydra.utils.get_object, without its log

from steepest.errors import ConfigError, shown

ALLOWED = (
    "steepest.",
    "torch.optim.",
    "torch.nn.",
    "torchvision.models.",
    "pytorch_lightning.",
    "pytorch_optimizer.",
)

ALLOW_VARIABLE = "STEEPEST_ALLOW_TARGETS"
"""Environment variable with more packages, separated by commas; `--allow-target` of the command line adds to it.

A configuration cannot: its author and the one who runs it need not be the same.
"""


def allowed() -> tuple[str, ...]:
    """Beginnings of the names that are allowed, each with a dot at its end.

    Raises:
        ConfigError: the environment names what is no package.
    """
    more = [name.strip().rstrip(".") for name in os.environ.get(ALLOW_VARIABLE, "").split(",")]
    for name in more:
        if name and not all(part.isidentifier() for part in name.split(".")):
            raise ConfigError(
                f"--allow-target {name} (or {ALLOW_VARIABLE}) is not possible; allowed is the name of a package, "
                "a module or an object, such as mypackage or mypackage.models."
            )
    return (*ALLOWED, *(f"{name}." for name in more if name))


def target(node: Mapping[Any, Any], path: str = "") -> Any:
    """The class or function that a node's `_target_` names.

    Args:
        node: a config node.
        path: where it stands in the configuration, for messages.

    Raises:
        ConfigError: it lies outside the allowed packages, or does not exist.
    """
    name, key = node["_target_"], f"{path}._target_".lstrip(".")
    homes = allowed()
    if not isinstance(name, str):
        raise ConfigError(f"{key}={shown(name)} is not possible; allowed is the full name of a class or a function.")
    # A name may begin harmlessly and lead elsewhere (`torch.optim.optimizer.torch.utils...`): see where it lives.
    home, found = name, None
    if f"{name}.".startswith(homes):
        try:
            found = _locate(name)
        except (ImportError, ValueError) as error:
            if isinstance(cause := error.__cause__, ImportError) and not _names(cause, name):
                raise  # the module is there; what it imports is not
            raise ConfigError(
                f"{key}={name} does not exist; allowed is the full name of a class or function."
            ) from None
        home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if not f"{home}.".startswith(homes):
        raise ConfigError(
            f"{key}={name} is not allowed; allowed are objects of {', '.join(prefix[:-1] for prefix in homes)}, and of "
            f"what --allow-target PACKAGE or the environment's {ALLOW_VARIABLE} adds."
        )
    return found


def is_ours(found: Any) -> bool:
    """Whether it is part of Steepest."""
    return f"{getattr(found, '__module__', '')}.".startswith("steepest.")


def is_a_library(found: Any) -> bool:
    """Whether it is neither ours nor the user's own, so that what it refuses are its values."""
    return not is_ours(found) and f"{getattr(found, '__module__', '')}.".startswith(ALLOWED)


def _names(error: ImportError, name: str) -> bool:
    """Whether the module that could not be imported is part of the name."""
    return error.name is not None and f"{name}.".startswith(f"{error.name}.")
