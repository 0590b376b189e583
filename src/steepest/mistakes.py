"""Mistakes on the command line, and what Hydra and OmegaConf say of them, as one sentence."""

import argparse
import re
from collections.abc import Sequence
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    InterpolationResolutionError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)
from yaml import YAMLError

from steepest.errors import ConfigError, did_you_mean, shown
from steepest.unknown import COMBINED, OF_STUDIES, composed, nearest_keys, unknown_key, unknown_value, values_of

OF_THE_USER = (HydraException, InterpolationResolutionError, MissingMandatoryValue, YAMLError)
"""Errors of the libraries that speak of what the user wrote; others speak of our own faults."""


def check_words(arguments: Sequence[str]) -> None:
    """Look over the arguments of `train` before Hydra does.

    Raises:
        ConfigError: an option that is unknown, a word that cannot be read, a group without a name.
    """
    parser = get_args_parser()
    parser.exit_on_error = False
    try:
        options, strange = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise ConfigError(f"{error.argument_name}: {error.message}.") from None
    words = [word for word in options.overrides if "=" in word]
    for flag in strange:
        meant = nearest_keys(flag.strip("-").partition("=")[0], composed(words) or composed([]))
        hint = did_you_mean([f"{key}=..." for key in meant]) or " options are listed by --hydra-help."
        raise ConfigError(f"{flag} is no option; values are given as key=value;{hint}")
    for override in OverridesParser.create().parse_overrides(options.overrides):
        key, value = override.key_or_group, override.value()
        if not key:
            raise ConfigError(f"'{override.input_line}' names no key; allowed is key=value.")
        if key.partition(".")[0] in OF_STUDIES:
            group = key.partition(".")[0]
            raise ConfigError(f"{override.input_line} is not possible, since a run has no {group}; allowed are values.")
        names = values_of(key)
        number = value is None or isinstance(value, bool | int | float)
        several = isinstance(value, list) and key not in COMBINED
        if names and not override.is_delete() and (number or several):
            raise ConfigError(f"{key}={shown(value)} is not possible; allowed is one of {', '.join(names)}.")


def sentence(error: Exception, arguments: Sequence[str]) -> str:
    """What is wrong with a configuration that could not be composed from these arguments."""
    said = " ".join(str(error).partition("Config search path:")[0].partition("See https://")[0].split())
    if found := re.match(r"Additional config directory '(.+)' not found", said):
        return f"--config-dir={found[1]} does not exist; allowed is a folder."
    match error:
        case MissingConfigException(missing_cfg_file=str(file), options=[*names]):
            return unknown_value(file, names)
        case MissingConfigException(missing_cfg_file=str(file)) if names := values_of(file.rpartition("/")[0]):
            return unknown_value(file, names)
        case MissingConfigException(missing_cfg_file=str(file)):
            return f"--config-name={file} is unknown; allowed is config, or a file of --config-dir."
        case OverrideParseException(override=str(word)):
            return _unreadable(word, said.removeprefix(f"Error parsing override '{word}'").strip())
        case ConfigCompositionException():
            return _not_composed(error, said, arguments)
        case YAMLError():
            return f"A configuration file is no YAML ({said})."
        case OmegaConfBaseException():
            return unresolved(error, None)
    return said if said.endswith(".") else f"{said}."


def unresolved(error: OmegaConfBaseException, cfg: DictConfig | None) -> str:
    """What is wrong with an interpolation, or with a value that is missing."""
    key = error.full_key or ""
    written = shown(_written(cfg, key)) if cfg is not None else "..."
    if isinstance(error, MissingMandatoryValue):
        return f"{key}={written} is missing; a value is needed."
    reason = str(error.msg or error).splitlines()[0].rstrip(".")
    if isinstance(error, InterpolationKeyError) and (name := re.search(r"'(.+)' not found", reason)):
        return f"{key}={written} refers to {name[1]}, which is unknown; allowed are keys of the configuration."
    return f"{key}={written} cannot be resolved ({reason})."


def _written(cfg: DictConfig, key: str) -> Any:
    """The value of a key as it was written."""
    value: Any = OmegaConf.to_container(cfg, resolve=False)
    for part in re.split(r"[.\[\]]+", key.rstrip("]")):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _unreadable(word: str, reason: str) -> str:
    if "=" in word:
        return f"{word} cannot be read ({reason}); brackets must be closed, and other signs quoted: key=\"'a=b'\"."
    allowed = f"one of {', '.join(values_of(word))}" if values_of(word) else "value"
    return f"'{word}' has no value; allowed is {word or 'key'}={allowed}."


def _not_composed(error: ConfigCompositionException, said: str, arguments: Sequence[str]) -> str:
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and cause.full_key:
        return unknown_key(str(cause.full_key), arguments)
    if found := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", said):
        return unknown_key(found[1], arguments)
    if found := re.match(
        r"(?:Multiple values for|Could not append to config\. An item is already at) '?([\w./@]+)", said
    ):
        key = found[1].rstrip(".")
        return f"+{key} would be there twice; allowed is {key}=value, without the plus sign."
    if found := re.match(r"Ambiguous value for argument '([^']+)'", said):
        return f"{found[1]} holds several values; allowed is one, or all of them as a sweep with -m."
    if found := re.match(r"Error resolving interpolation '(.+)', possible interpolation keys: (.+)", said):
        needed, left = re.findall(r"\$\{(\w+)\}", found[1]), re.findall(r"\w+", found[2])
        gone = next(group for group in needed if group not in left)  # the list of defaults names other groups' choices
        return f"{gone} is missing; allowed is one of {', '.join(values_of(gone))}."
    if found := re.match(r"Could not delete '([^']+)'", said):
        return f"~{found[1]} deletes what is not chosen."
    reason = f" ({str(cause).splitlines()[0]})" if cause else ""
    return f"{said.rstrip('.')}{reason}."
