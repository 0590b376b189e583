"""A setting of one optimizer as one of another, by published rules. Nothing here imports torch."""

import math
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from steepest.config import conf_dir
from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.search import search_space
from steepest.translation_rules import AT, BOTH, HIGH, LOW, RULES, Rule, Values

USAGE = """usage: steepest translate from=NAME to=NAME [key=value] ... [decay_form=times_lr | decoupled]

  steepest translate from=adamw to=lion lr=3e-4 weight_decay=0.1
  steepest translate from=adamw to=adamw lr=1e-3 weight_decay=0.1 decay_form=decoupled

Prints what the rules on the way say and who says so, the range where they give one, and on the last line the whole
setting of the other optimizer, for `steepest train`. The keys are hyperparameters of the first optimizer, by default
those of its file; decay_form is how the weight decay of the second one is to act."""


@dataclass(frozen=True)
class Translation:
    """A setting of `optimizer`, and how it came about."""

    optimizer: str
    values: Values
    steps: tuple[tuple[str, str, str], ...]
    """Of each step: from where to where, what it does, and its source."""
    ranges: dict[str, tuple[float, float]]
    """Values for which the rules give a range."""

    @property
    def command(self) -> str:
        """The setting as words of a command line."""
        words = [f"optimizer.{key}={shown(value).replace(', ', ',')}" for key, value in self.values.items()]
        return shlex.join([f"optimizer={self.optimizer}", *words])


FORMS = ("times_lr", "decoupled")
"""Of weight decay outside of the gradient."""

NOT_NEGATIVE = ("lr", "momentum", "betas", "eps", "adam_eps", "weight_decay")


def translate(source: str, target: str, given: Mapping[str, Any], decay_form: str | None = None) -> Translation:
    """A setting of the optimizer `source` as one of `target`.

    Args:
        source: a value of the group `optimizer`.
        target: another one.
        given: values of the source's hyperparameters; the others have their defaults.
        decay_form: of the target's weight decay, times_lr or decoupled; None: what the rules make it.

    Raises:
        ConfigError: a name or key that is unknown, a value that is not possible, or no rule on the way.
    """
    start = checked(source, given, defaults(source, "from"))
    ends = defaults(target, "to")
    path = way(source, target)
    if decay_form not in (None, *FORMS):
        raise ConfigError(f"decay_form={shown(decay_form)} is unknown; allowed are {', '.join(FORMS)}.")
    if start.get("weight_decay_form") == "decoupled":
        decay_form = decay_form or "decoupled"
    steps = [(f"{one.source} -> {one.target}", one.text, one.citation) for one in path]
    stops = [(one, defaults(one.target, "to")) for one in path]
    runs = []
    for pick in (LOW, AT, HIGH):
        values = with_form(start, "times_lr") if start.get("weight_decay_form") == "decoupled" else start
        for one, after in stops:
            shared: Values = {key: values[key] for key in ("cautious", "maximize") if key in values and key in after}
            values = {**after, **shared, **one.change(values, pick)}
        runs.append(with_form(values, decay_form) if decay_form else values)
    low, at, high = ({key: tidy(run[key]) for key in ends} for run in runs)
    if start.get("weight_decay_form") != at.get("weight_decay_form") == decay_form:
        steps.append((f"decay_form={decay_form}", "decoupled decay is lr times the other, while lr is constant.", BOTH))
    ranges = {key: (min(low[key], high[key]), max(low[key], high[key])) for key in ends if low[key] != high[key]}
    return Translation(target, at, tuple(steps), ranges)


def with_form(values: Values, form: str) -> Values:
    """The same decay in another form: decoupled, it is lr times the one that is multiplied by lr."""
    now, decay = values.get("weight_decay_form"), values.get("weight_decay")
    if now == form or now is None:
        return values
    if decay and now not in FORMS:
        raise ConfigError(
            f"decay_form={form} is not possible for weight_decay={shown(decay)}, which is an L2 penalty; allowed is no "
            "decay_form."
        )
    factor = values["lr"] if form == "decoupled" else 1 / values["lr"]
    return {**values, "weight_decay": decay * factor if decay else decay, "weight_decay_form": form}


def way(source: str, target: str) -> list[Rule]:
    """The fewest rules that lead from one optimizer to another.

    Raises:
        ConfigError: none do.
    """
    reached: dict[str, list[Rule]] = {source: []}
    queue = [source]
    for name in queue:
        if name == target:
            return reached[name]
        for one in RULES:
            if one.source == name and one.target not in reached:
                reached[one.target] = [*reached[name], one]
                queue.append(one.target)
    others = [name for name in queue if name != source]
    leads = f"from {source} rules lead to {listed(others)}" if others else f"there is none from {source}"
    raise ConfigError(f"from={source} to={target} has no published rule ({leads}); {searched(target)}")


def searched(target: str) -> str:
    """Where else to look for values of an optimizer."""
    if not (conf_dir() / "search" / f"{target}.yaml").is_file():
        return f"optimizer={target} has to be tuned."
    lr = next((one for one in search_space(target).dimensions if one.key == "lr" and not one.choices), None)
    span = f", lr from {lr.low:g} to {lr.high:g}" if lr else ""
    return f"conf/search/{target}.yaml is the space to tune it in{span}."


def defaults(name: str, key: str) -> Values:
    """The hyperparameters of an optimizer as its file states them."""
    known = sorted(file.stem for file in (conf_dir() / "optimizer").glob("*.yaml"))
    if name not in known:
        raise ConfigError(
            f"{key}={shown(name)} is unknown;{did_you_mean(near(name, known))} allowed are {', '.join(known)}."
        )
    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "optimizer" / f"{name}.yaml"))
    assert isinstance(node, dict)
    return {str(key): value for key, value in node.items() if not str(key).startswith("_")}


def checked(source: str, given: Mapping[str, Any], known: Values) -> Values:
    """The known values with those given in their place; raises ConfigError for what is none."""
    for key, value in given.items():
        if key not in known:
            meant = did_you_mean(near(key, known))
            raise ConfigError(f"{key} is unknown;{meant} optimizer={source} has {listed(known)}.")
        if allowed := _refuses(key, value, known[key]):
            raise ConfigError(f"{key}={shown(value)} is not possible; allowed is {allowed}.")
    return {**known, **given}


def _refuses(key: str, value: Any, default: Any) -> str:
    """What is allowed for a key, where the value is not; empty where it is."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "true or false"
    if key == "weight_decay_form":
        return "" if value in ("l2", *FORMS) else "l2, times_lr or decoupled"
    if isinstance(default, str):
        return "" if isinstance(value, str) else "text"
    least, below = (0.0 if key in NOT_NEGATIVE else -math.inf), (1.0 if key in ("momentum", "betas") else math.inf)
    bounds = " from 0 to below 1" if below == 1.0 else " of 0 or more" if least == 0.0 else ""
    if isinstance(default, list):
        same = isinstance(value, list) and len(value) == len(default)
        fits = same and all(
            _number(one, least, below) or (one is None and old is None) for one, old in zip(value, default, strict=True)
        )
        return "" if fits else f"a list of {len(default)} numbers{bounds}"
    if key == "lr":
        return "" if _number(value, 0.0, below) and value > 0 else "a number above 0"
    fits = _number(value, least, below) or (value is None and default is None)
    return "" if fits else f"a number{bounds}"


def _number(value: Any, least: float, below: float) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and least <= value < below and value > -math.inf
    )


def tidy(value: Any) -> Any:
    """A number without the noise of its computation."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main(arguments: list[str] | None = None) -> int:
    """Print a translation; returns the exit code.

    Raises:
        ConfigError: for what the user can mend.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(USAGE, *_directly(), sep="\n")
        return 0
    given = parsed(arguments)
    for key in ("from", "to"):
        if key not in given:
            raise ConfigError(f"{key} is missing; allowed is {key}=NAME with the name of an optimizer.")
    source, target, form = str(given.pop("from")), str(given.pop("to")), given.pop("decay_form", None)
    found = translate(source, target, given, form)
    for where, text, citation in found.steps:
        print(f"{where}: {text}\n  {citation}")
    for key in given:
        if key not in found.values:
            print(f"optimizer={target} has no {key}.")
    for key, (low, high) in found.ranges.items():
        print(f"optimizer.{key} from {low:g} to {high:g}")
    print(("\n" if found.steps else "") + found.command)
    return 0


def parsed(arguments: Iterable[str]) -> Values:
    """Words of the form key=value; `optimizer.` before a key is left out."""
    given: Values = {}
    for word in arguments:
        key, equals, _ = word.partition("=")
        if not equals or not key or key[0] in "+~-":
            raise ConfigError(
                f"{shown(word)} is not possible; allowed is key=value, such as from=adamw to=lion lr=3e-4."
            )
        [override] = OverridesParser.create().parse_overrides([word])
        if override.is_sweep_override():
            raise ConfigError(f"{word} is not possible; allowed is a single value.")
        key = key.removeprefix("optimizer.")
        if key in given:
            raise ConfigError(f"{key} is given twice; allowed is once.")
        given[key] = override.value()
    return given


def _directly() -> list[str]:
    """Lines that say which optimizers a single rule leads to."""
    sources = dict.fromkeys(one.source for one in RULES)
    lines = [f"  {name:<13} to {', '.join(one.target for one in RULES if one.source == name)}" for name in sources]
    return ["", "Rules, of which several may be taken in turn:", *lines]
