"""A composed configuration, held against what its plain nodes may hold. Nothing here imports torch."""

from typing import Any, get_args, get_origin

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from steepest.config import resolved
from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.mistakes import unresolved
from steepest.nodes import Config, Node, Part


def check(cfg: DictConfig) -> None:
    """Hold a composed configuration against the schema.

    Raises:
        ConfigError: the first key that is unknown or missing, or whose value is not allowed.
    """
    try:
        config = resolved(cfg)
    except OmegaConfBaseException as error:
        raise ConfigError(unresolved(error, cfg)) from None
    check_resolved(config)


def check_resolved(config: dict[str, Any]) -> None:
    """Hold a configuration in plain containers against the schema.

    Raises:
        ConfigError: as `check`.
    """
    try:
        Config.model_validate(config)
    except ValidationError as error:
        raise ConfigError(sentence(error.errors()[0], config)) from None


def sentence(error: ErrorDetails, config: dict[str, Any]) -> str:
    """What pydantic found, in our words."""
    if isinstance(said := error.get("ctx", {}).get("error"), ConfigError):
        return str(said)
    node: Any = Config
    value: Any = config
    keys: list[str] = []
    allowed = "a mapping"
    for key in error["loc"]:
        if get_origin(node) is dict:
            node = get_args(node)[1]
            allowed = "a mapping with _target_"
        elif _is_node(node):
            fields = {field.alias or name: field for name, field in node.model_fields.items()}
            if key not in fields:
                return _unknown([*keys, str(key)], list(fields))
            node, allowed = fields[str(key)].annotation, fields[str(key)].description or "a mapping"
        else:
            break  # inside a list or a union
        keys.append(str(key))
        if isinstance(node, type) and issubclass(node, Part):
            allowed = "a mapping with _target_"
        if key not in value:
            return f"{'.'.join(keys)} is missing; allowed is {allowed}."
        value = value[key]
    if _is_node(node) and not issubclass(node, Part):
        allowed = f"a mapping with {listed(node.model_fields)}"
    return f"{'.'.join(keys)}={shown(value)} is not possible; allowed is {allowed}."


def _is_node(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Node)


def _unknown(keys: list[str], known: list[str]) -> str:
    *parents, name = keys
    offered = [".".join([*parents, word]) for word in near(name, known)]
    hint = did_you_mean(offered) or f" allowed are {listed(known)}."
    return f"{'.'.join(keys)} is unknown;{hint}"
