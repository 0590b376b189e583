"""One environment of Gymnasium, and what to say where it cannot be had."""

import re
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from gymnasium.wrappers import FlattenObservation

from steepest.errors import ConfigError, did_you_mean, near, shown
from steepest.targets import allowed

IDS = "the ids of gymnasium.pprint_registry()"


def make(name: str, options: Mapping[str, Any], **more: Any) -> gymnasium.Env:
    """An environment whose observations are arrays.

    Args:
        name: its id.
        options: arguments of `gymnasium.make`, as the user gives them.
        more: others.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        env = gymnasium.make(name, **{**options, **more})
    except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
        if close := near(name, gymnasium.registry):
            raise ConfigError(f"dataset.id={shown(name)} is unknown;{did_you_mean(close)}") from None
        raise ConfigError(f"dataset.id={shown(name)} is unknown ({sentence(error)}); allowed are {IDS}.") from None
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise ConfigError(
            f"dataset.id={name} needs a package that is not installed ({sentence(error)}); allowed are {IDS} that need "
            "none."
        ) from None
    except (gymnasium.error.Error, TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"dataset.id={name} with dataset.options={shown(options)} cannot be made ({sentence(error)}); allowed are "
            "the arguments of that environment."
        ) from None
    if isinstance(env.observation_space, Box):
        return env
    if not env.observation_space.is_np_flattenable:
        raise ConfigError(
            f"dataset.id={name} has observations of no fixed size ({env.observation_space}); allowed are environments "
            "whose observations are arrays, or can be flattened to one."
        )
    return FlattenObservation(env)


def check_module(name: str) -> None:
    """Raise ConfigError for an id that would let Gymnasium run a module that is not allowed (`module:id`)."""
    module, named, _ = name.rpartition(":")
    if named and not f"{module}.".startswith(allowed()):
        raise ConfigError(
            f"dataset.id={name} would run the module {module}; allowed are ids without a module, or --allow-target "
            f"{module.partition('.')[0]}."
        )


def usable(space: Space, name: str) -> Discrete | Box:
    """The space of actions, if there is a policy for it.

    Raises:
        ConfigError: there is none.
    """
    if isinstance(space, Discrete) or (
        isinstance(space, Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
    ):
        return space
    raise ConfigError(
        f"dataset.id={name} has actions of the kind {space}; allowed are environments with a finite number of actions "
        "(Discrete), or with vectors of numbers (a Box of one dimension)."
    )


def sentence(error: BaseException) -> str:
    """What an error says, in one line without its last stop."""
    return re.sub(r"\s+", " ", str(error)).strip().rstrip(".?") or type(error).__name__
