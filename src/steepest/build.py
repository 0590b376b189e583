"""Config nodes become objects here and nowhere else."""

from functools import partial
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from steepest.errors import ConfigError

ALLOWED = (
    "steepest.",
    "torch.optim.",
    "torch.nn.",
    "torchvision.models.",
    "pytorch_lightning.",
    "pytorch_optimizer.",
)


def build(node: DictConfig | ListConfig | dict[str, Any], **live: Any) -> Any:
    """Instantiate a config node, its children included.

    Args:
        node: a node with `_target_` (one object) or a mapping of such nodes (a dict of objects).
        live: objects passed to the target as they are, by identity.

    Raises:
        ConfigError: a `_target_` outside the allowed packages.
    """
    plain: Any = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    _check_targets(plain)
    try:
        if not live:
            return instantiate(plain, _convert_="all")
        # Live objects by-pass Hydra, which would turn a dataclass among them into a dict.
        made = instantiate({**plain, "_partial_": True}, _convert_="all")
    except InstantiationException as error:
        # Hydra's wrapping would hide the user's mistakes and our own faults alike.
        raise (error.__cause__ or error) from None
    return partial(made, **live) if plain.get("_partial_") else made(**live)


def target(node: DictConfig | dict[str, Any]) -> Any:
    """The class or function that a node's `_target_` names.

    Raises:
        ConfigError: it lies outside the allowed packages.
    """
    name = node["_target_"]
    # A name may begin harmlessly and lead elsewhere (`torch.optim.optimizer.torch.utils...`): see where it lives.
    home = name
    if name.startswith(ALLOWED):
        found = get_object(name)
        home = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    if not home.startswith(ALLOWED):
        raise ConfigError(f"_target_={name} is not allowed; allowed are objects of {', '.join(ALLOWED)}.")
    return found


def _check_targets(node: Any) -> None:
    if isinstance(node, dict):
        if "_target_" in node:
            target(node)
        for child in node.values():
            _check_targets(child)
    elif isinstance(node, list):
        for child in node:
            _check_targets(child)
