"""Config nodes held against the constructor that they are meant for: unknown and missing keys, and types."""

import inspect
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.targets import is_ours

EMPTY = inspect.Parameter.empty
SINGULAR = {bool: "true or false", int: "an integer", float: "a number", str: "text", NoneType: "null"}
PLURAL = {bool: "of true and false", int: "of integers", float: "of numbers", str: "of texts"}


@dataclass(frozen=True)
class Signature:
    """The keywords that a class or function takes."""

    types: dict[str, Any]
    """Annotation of each keyword; EMPTY where there is none."""
    defaults: dict[str, Any]
    """Default of each keyword; EMPTY where it is needed."""
    open: bool
    """Whether it takes any other keyword too."""

    @property
    def needed(self) -> list[str]:
        """Keywords without a default."""
        return [name for name, default in self.defaults.items() if default is EMPTY]


@cache
def signature(made: Any) -> Signature:
    """What `made` takes; where one of our classes hands on `**options`, what its base takes too."""
    types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    is_open = False
    for function in _constructors(made):
        rest = None
        hints = _hints(function)
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                rest = parameter.name
            elif parameter.kind not in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                types.setdefault(parameter.name, hints.get(parameter.name, parameter.annotation))
                defaults.setdefault(parameter.name, parameter.default)
        is_open = rest is not None
        if rest and is_typeddict(shared := _unpacked(hints.get(rest))):
            for name, hint in get_type_hints(shared).items():
                types.setdefault(name, hint)
                defaults.setdefault(name, None)
            is_open = False
        if not is_open:
            break
    types.pop("self", None)
    defaults.pop("self", None)
    return Signature(types, defaults, is_open)


def _constructors(made: Any) -> Iterable[Any]:
    if not isinstance(made, type):
        return [made]
    if not is_ours(made):
        return [made.__init__]  # type: ignore[misc]
    return [base.__init__ for base in made.__mro__ if "__init__" in vars(base)]  # type: ignore[misc]


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):  # names that only a type checker imports
        return {}


def _unpacked(hint: Any) -> Any:
    """The TypedDict of `**shared: Unpack[Shared]`."""
    return get_args(hint)[0] if get_args(hint) and "Unpack" in str(get_origin(hint)) else None


def check(node: Mapping[str, Any], made: Any, path: str, live: Collection[str] = ()) -> None:
    """Hold the keys and types of a node against what it is to make.

    Args:
        node: plain values, with `_target_`.
        made: the class or function.
        path: of the node in the configuration, for messages.
        live: keywords that are given beside the node; their values are not looked at.

    Raises:
        ConfigError: a key that it does not take, or a value of another type.
    """
    takes = signature(made)
    for key, value in node.items():
        full = f"{path}.{key}".lstrip(".")
        if key == "_partial_" and not isinstance(value, bool):
            raise ConfigError(f"{full}={shown(value)} is not possible; allowed is true or false.")
        if key.startswith("_") or key in live:
            continue
        if key in takes.types:
            if not _fits(value, takes.types[key], takes.defaults[key]):
                raise ConfigError(f"{full}={shown(value)} is not possible; allowed is {words(takes.types[key])}.")
        elif not takes.open:
            known = [name for name in takes.types if name in node or name not in takes.needed] or [*takes.types]
            meant = did_you_mean([f"{path}.{name}".lstrip(".") for name in near(key, known)])
            has = f" {node['_target_']} takes {listed(known) if known else 'no keys'}."
            raise ConfigError(f"{full} is unknown;{meant}{has}")


def check_complete(node: Mapping[str, Any], made: Any, path: str, live: Collection[str] = ()) -> None:
    """Raise ConfigError unless the node and what is given beside it are all that is needed."""
    takes = signature(made)
    for name in takes.needed:
        if name not in node and name not in live and "_args_" not in node:
            raise ConfigError(f"{path}.{name}".lstrip(".") + f" is missing; allowed is {words(takes.types[name])}.")


def _fits(value: Any, hint: Any, default: Any) -> bool:
    if hint is EMPTY or _made(value) or (type(value) is type(default) and value == default):
        return True
    adapter = _adapter(hint)
    if adapter is None:
        return True
    try:
        adapter.validate_json(json.dumps(value))
    except ValidationError:
        return False
    return True


def _made(value: Any) -> bool:
    """Whether objects will stand in the value's place."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_made, value.values()))
    return isinstance(value, list) and any(map(_made, value))


@cache
def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    """JSON, strictly: a list is a tuple there, an integer a number, and nothing else is anything else."""
    try:
        return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError, TypeError, NameError):
        return None


def words(hint: Any) -> str:
    """A type as a phrase: "a list of integers, or null"."""
    if hint in SINGULAR:
        return SINGULAR[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        kinds = [kind for kind in arguments if kind is not NoneType and not (kind is int and float in arguments)]
        some = listed(dict.fromkeys(map(words, kinds)), "or")
        return f"{some}, or null" if NoneType in arguments else some
    if origin is Literal:
        return f"one of {', '.join(map(shown, arguments))}"
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} {PLURAL.get(arguments[0], 'of values').removeprefix('of ')}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list {PLURAL.get(arguments[0], 'of values')}"
    if hint is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return "a mapping"
    if hint in (list, tuple):
        return "a list"
    return "a value" if hint is EMPTY else f"a value of type {getattr(hint, '__name__', hint)}"
