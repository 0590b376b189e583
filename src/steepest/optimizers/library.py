"""Optimizers of torch and of pytorch_optimizer by their names, without code of ours."""

import importlib
import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import torch
from torch.optim import Optimizer

from steepest import signature
from steepest.errors import ConfigError, did_you_mean, listed, near, shown

HESSIAN = ("AdaHessian", "SophiaH")
"""Classes of pytorch_optimizer that differentiate the gradient once more."""


def torch_optimizer(params: Iterable[Any], name: str, lr: float, **options: Any) -> Optimizer:
    """An optimizer of torch.optim.

    Args:
        params: parameters or groups of them.
        name: its class, whatever the case and the underscores.
        lr: the learning rate.
        options: its other hyperparameters; those not given have torch's defaults.

    Raises:
        ConfigError: a name or an option that torch does not know, a value that it refuses, or a class that cannot work
            in a loop of one gradient a step.
    """
    return _made(torch.optim, params, name, lr, options)


def library_optimizer(params: Iterable[Any], name: str, lr: float, **options: Any) -> Optimizer:
    """An optimizer of pytorch_optimizer; as `torch_optimizer`.

    Raises:
        ConfigError: as `torch_optimizer`, and where pytorch_optimizer is not installed.
    """
    try:
        library = importlib.import_module("pytorch_optimizer")
    except ModuleNotFoundError as error:
        if error.name != "pytorch_optimizer":
            raise
        raise ConfigError(
            "optimizer=library needs the package pytorch_optimizer, which is not installed: "
            "pip install 'steepest[library]'."
        ) from None
    return _made(library, params, name, lr, options)


def classes(library: ModuleType) -> dict[str, type[Optimizer]]:
    """The optimizers of a library by their names."""
    found = {name: made for name, made in vars(library).items() if isinstance(made, type)}
    concrete = {name: made for name, made in found.items() if issubclass(made, Optimizer) and made is not Optimizer}
    return {name: made for name, made in sorted(concrete.items()) if not inspect.isabstract(made)}


def _made(library: ModuleType, params: Iterable[Any], name: str, lr: float, options: dict[str, Any]) -> Optimizer:
    made = _named(library, name)
    node = {"_target_": f"{library.__name__}.{made.__name__}", "lr": lr, **options}
    _check(made, node)
    params = list(params)
    if params and not isinstance(params[0], dict):
        params = [{"params": params}]  # some classes read options of their own from groups, and crash on tensors
    try:
        optimizer: Optimizer = made(params, lr=lr, **options)
    except Exception as error:  # whatever it is: a constructor that ran here raises what it does not take
        said = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ConfigError(f"optimizer.name={made.__name__} is not possible ({said}).") from None
    if not all("lr" in group for group in optimizer.param_groups):
        raise ConfigError(f"optimizer.name={made.__name__} keeps no learning rate that a schedule could set.")
    return optimizer


def _named(library: ModuleType, name: str) -> Any:
    known = classes(library)
    for key, made in known.items():
        if _plain(key) == _plain(name):
            return made
    nearest = near(_plain(name), map(_plain, known))
    meant = did_you_mean([key for word in nearest for key in known if _plain(key) == word])
    raise ConfigError(f"optimizer.name={shown(name)} is unknown;{meant} {library.__name__} has {listed(known)}.")


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _check(made: Any, node: dict[str, Any]) -> None:
    """Hold the options against the class, and the class against what a training loop gives it."""
    name, takes = f"optimizer.name={made.__name__}", signature.signature(made)
    if issubclass(made, torch.optim.LBFGS):
        raise ConfigError(f"{name} evaluates the loss many times a step; optimizer=lbfgs does that here.")
    if made.__name__ in HESSIAN:
        raise ConfigError(f"{name} needs second derivatives of the loss, which a run does not keep.")
    if {"optimizer", "base_optimizer", "model"} & set(takes.needed):
        what = "the model itself" if "model" in takes.needed else "another optimizer to wrap"
        raise ConfigError(f"{name} needs {what}, which a configuration cannot give it.")
    known = [key for key in takes.types if key != "params"]
    if "lr" not in known:
        raise ConfigError(f"{name} has no learning rate lr; it takes {listed(known)}.")
    for key in node:
        if key not in ("_target_", *known):  # a class that takes **kwargs would swallow it
            meant = did_you_mean([f"optimizer.{word}" for word in near(key, known)])
            raise ConfigError(f"optimizer.{key} is unknown;{meant} {node['_target_']} takes {listed(known)}.")
    signature.check(node, made, "optimizer")
    signature.check_complete(node, made, "optimizer", ["params"])
