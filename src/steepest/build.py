"""Config nodes become objects here and nowhere else."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from steepest import signature
from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.targets import is_a_library, target


def build(node: DictConfig | ListConfig | dict[str, Any], **live: Any) -> Any:
    """Instantiate a config node, its children included.

    Args:
        node: a node with `_target_` (one object) or a mapping of such nodes (a dict of objects).
        live: objects passed to the target as they are, by identity.

    Raises:
        ConfigError: a `_target_` that is not allowed, a key that its target does not take or misses, a value of another
            type, and what a library's class says of its values.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if "_target_" not in plain:
        return {key: build(child) for key, child in node.items()}
    path = (node._get_full_key(None) if isinstance(node, DictConfig | ListConfig) else "") or _group(plain)
    for child, at in _nodes(plain, path):
        given = live if at == path else {}
        made = target(child, at)
        signature.check(child, made, at, given)
        if not child.get("_partial_"):
            signature.check_complete(child, made, at, given)
    with reported(plain, path):
        if not live:
            return instantiate(plain, _convert_="all")
        # Live objects by-pass Hydra, which would turn a dataclass among them into a dict.
        made = instantiate({**plain, "_partial_": True}, _convert_="all")
        return partial(made, **live) if plain.get("_partial_") else made(**live)


@contextmanager
def reported(node: DictConfig | dict[str, Any], path: str) -> Iterator[None]:
    """While a node's object is made: what a library's class says of its values is a mistake of the user.

    Raises:
        ConfigError: for a TypeError, a ValueError or Lightning's MisconfigurationException of a library's class.
    """
    try:
        yield
    except Exception as error:
        # Hydra's wrapping would hide the user's mistakes and our own faults alike.
        cause = (error.__cause__ or error) if isinstance(error, InstantiationException) else error
        if isinstance(cause, ConfigError) or not is_a_library(target(node)) or not _of_values(cause):
            raise cause from None
        said = str(cause).splitlines()[0].rstrip(".")
        raise ConfigError(f"{path or 'a node'} with _target_={node['_target_']} is not possible ({said}).") from None


def check(cfg: DictConfig) -> None:
    """Hold every node with a `_target_` against it, before anything is built.

    Raises:
        ConfigError: as `build`, but for what only building can tell.
    """
    # What the run fills in is not known yet.
    filled = OmegaConf.merge(cfg, {"run": {key: "" for key, value in cfg.run.items() if value is None}})
    for node, path in _nodes(OmegaConf.to_container(filled, resolve=True), ""):
        made = target(node, path)
        signature.check(node, made, path)
        if "." in path and not node.get("_partial_"):  # the nodes above are given more than they hold
            signature.check_complete(node, made, path)
    build(filled.callbacks)  # a trial; nothing else is made so late that the run has begun


def _group(node: dict[str, Any]) -> str:
    """The group of a node that stands alone, by the package of its class: steepest.models.mlp.MLP is of `model`."""
    package, _, name = str(node["_target_"]).partition(".")
    group = name.partition(".")[0].removesuffix("s")
    return group if package == "steepest" and (conf_dir() / group).is_dir() else ""


def _of_values(error: BaseException) -> bool:
    # By its name: nothing here imports Lightning.
    return isinstance(error, TypeError | ValueError) or type(error).__name__ == "MisconfigurationException"


def _nodes(node: Any, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Every mapping with a `_target_` in a plain configuration, and its path."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield node, path
        for key, child in node.items():
            yield from _nodes(child, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for place, child in enumerate(node):
            yield from _nodes(child, f"{path}[{place}]")
