"""Parameters to routes, routes to one optimizer."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.optimizers.composite import Composite
from steepest.routing.kinds import kinds

Factory = Callable[..., Optimizer]
"""Makes an optimizer of parameters or parameter groups: what `build` gives for a node with `_partial_: true`."""


@dataclass(frozen=True)
class Route:
    """Which parameters it takes, and what is different for them.

    A parameter is taken if it is of one of the kinds or its name fits one of the patterns, and fits none of `exclude`.
    """

    kinds: list[str] = field(default_factory=list)
    """Of `routing.KINDS`."""
    patterns: list[str] = field(default_factory=list)
    """Of full names, as in a shell: `head.*`."""
    exclude: list[str] = field(default_factory=list)
    """Patterns of names that it leaves to others."""
    optimizer: Factory | None = None
    """An optimizer of their own; None: that of the run."""
    lr_multiple: float = 1.0
    """Factor on the optimizer's learning rate."""
    weight_decay: float | None = None
    """None: the optimizer's."""

    def takes(self, name: str, kind: str) -> bool:
        """Whether it takes the parameter of this name and kind."""
        fits = kind in self.kinds or any(fnmatchcase(name, pattern) for pattern in self.patterns)
        return fits and not any(fnmatchcase(name, pattern) for pattern in self.exclude)


class Routing:
    """Makes the optimizer of a module: one for all of it, or one composite optimizer by routes.

    Without routes all parameters are alike, but for two things that are said in the table of the run: what a model
    recommends to leave undecayed (`undecayed`, kinds such as norm and bias of a transformer) is, and an optimizer for
    matrices treats embeddings by its element rule.

    Args:
        optimizer: that of the run.
        routes: by their names; every parameter must be taken by exactly one.
    """

    def __init__(self, optimizer: Factory, routes: Mapping[str, Route] | None = None) -> None:
        self.optimizer, self.routes = optimizer, dict(routes or {})

    def __call__(self, module: nn.Module) -> Optimizer:
        """The optimizer of the module's parameters.

        Raises:
            ConfigError: a parameter that no route takes, or more than one; routes that cannot be combined.
        """
        named, kind = dict(module.named_parameters()), kinds(module)
        routes = self.routes or recommended(self.optimizer, module)
        require_used(routes, named)
        makers: dict[Factory, list[dict[str, Any]]] = {}
        for name, route in routes.items():
            factory = route.optimizer or self.optimizer
            taken = [parameter for parameter in named if assigned(parameter, kind, routes) == name]
            for group in split(factory, taken, kind):
                settings = overrides(factory, route)
                params = [named[parameter] for parameter in group.pop("names")]
                makers.setdefault(factory, []).append({"params": params, **settings, **group})
        made = [make(factory, plain(groups), module) for factory, groups in makers.items() if groups]
        if len(made) == 1 and hasattr(made[0], "reach"):
            return made[0]  # others' would lose the dtypes of their state in a checkpoint
        for optimizer in made:
            if getattr(optimizer, "reach", None) == "closure":
                raise ConfigError(
                    f"{type(optimizer).__name__} moves all parameters at once and cannot be one of several optimizers; "
                    "allowed are routes without an optimizer of their own."
                )
        return Composite(made)


def recommended(optimizer: Factory, module: nn.Module) -> dict[str, Route]:
    """The routes where none are given."""
    undecayed = list(getattr(module, "undecayed", ()))
    present = set(kinds(module).values())
    if not (keywords(optimizer).get("weight_decay") and present & set(undecayed)):
        return {"all": Route(patterns=["*"])}
    return {
        "decayed": Route(kinds=sorted(present - set(undecayed))),
        "undecayed": Route(kinds=undecayed, weight_decay=0.0),
    }


def require_used(routes: Mapping[str, Route], names: Iterable[str]) -> None:
    """Raise ConfigError for a pattern that no name fits: it is meant for something."""
    names = list(names)
    for route, values in routes.items():
        for key in ("patterns", "exclude"):
            for pattern in getattr(values, key):
                if not any(fnmatchcase(name, pattern) for name in names):
                    meant = did_you_mean(near(pattern, names))
                    example = max(names, key=lambda name: "." in name, default="weight")
                    raise ConfigError(
                        f"routing.{route}.{key}={shown([pattern])} fits the name of no parameter;{meant} allowed are "
                        f"patterns such as {example} or {example.partition('.')[0]}*."
                    )


def assigned(name: str, kind: Mapping[str, str], routes: Mapping[str, Route]) -> str:
    """The one route that takes a parameter."""
    taking = [route for route in routes if routes[route].takes(name, kind[name])]
    if len(taking) == 1:
        return taking[0]
    if not taking:
        raise ConfigError(
            f"routing leaves out the parameter {name} (kind {kind[name]}); allowed is exactly one route for each."
        )
    routed = listed(f"routing.{route}" for route in taking)
    raise ConfigError(
        f"{routed} take the same parameter {name} (kind {kind[name]}); allowed is exactly one route for each."
    )


def split(factory: Factory, names: list[str], kind: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The groups of a route: embeddings apart, where the optimizer is one for matrices."""
    if reach(factory) == "matrix":
        tables = [name for name in names if kind[name] == "embedding"]
        if tables:
            yield {"names": tables, "matrix": False}
        names = [name for name in names if name not in tables]
    if names:
        yield {"names": names}


def overrides(factory: Factory, route: Route) -> dict[str, float]:
    """The values of a route's parameter group that differ from the optimizer's."""
    changed = {}
    if route.lr_multiple != 1.0:
        changed["lr"] = keywords(factory)["lr"] * route.lr_multiple
    if route.weight_decay is not None:
        changed["weight_decay"] = route.weight_decay
    return changed


def plain(groups: list[dict[str, Any]]) -> list[Tensor] | list[dict[str, Any]]:
    """Parameters instead of groups, where there is nothing but one ordinary group."""
    return groups[0]["params"] if len(groups) == 1 and groups[0].keys() == {"params"} else groups


def make(factory: Factory, params: Any, module: nn.Module) -> Optimizer:
    """Call the factory; an optimizer that looks at the layers is given them."""
    return factory(params, module=module) if reach(factory) == "module" else factory(params)


def reach(factory: Factory) -> str:
    """How far the optimizers of a factory look; those of others look at elements, as far as it is known here."""
    return reach(factory.func) if isinstance(factory, partial) else getattr(factory, "reach", "element")


def keywords(factory: Factory) -> Mapping[str, Any]:
    """The hyperparameters that a factory was given."""
    return {**keywords(factory.func), **factory.keywords} if isinstance(factory, partial) else {}
