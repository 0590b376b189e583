"""A setting of one optimizer as one of another, by published rules. Nothing here imports torch."""

import math
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from steepest.config import conf_dir
from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.search import search_space

USAGE = """usage: steepest translate from=NAME to=NAME [key=value] ... [decay_form=times_lr | decoupled]

  steepest translate from=adamw to=lion lr=3e-4 weight_decay=0.1
  steepest translate from=adamw to=adamw lr=1e-3 weight_decay=0.1 decay_form=decoupled

Prints what the rules on the way say and who says so, the range where they give one, and on the last line the whole
setting of the other optimizer, for `steepest train`. The keys are hyperparameters of the first optimizer, by default
those of its file; decay_form is how the weight decay of the second one is to act."""

Values = dict[str, Any]
Change = Callable[[Values, int], Values]

LOW, AT, HIGH = range(3)
"""Where a rule has a range: its smallest factor, the one that is taken, its largest."""


@dataclass(frozen=True)
class Rule:
    """A step from one optimizer to another."""

    source: str
    target: str
    citation: str
    change: Change
    """From all values of the source, the values of the target that do not keep their default."""

    @property
    def text(self) -> str:
        """What the rule does."""
        return " ".join((self.change.__doc__ or "").split())


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

RULES: list[Rule] = []


def rule(source: str, target: str, citation: str) -> Callable[[Change], Change]:
    """Make a function a rule; its docstring says what it does."""

    def add(change: Change) -> Change:
        RULES.append(Rule(source, target, citation, change))
        return change

    return add


POLYAK = "Polyak 1964; Sutskever et al. 2013, Section 2"
VELOCITY = "Goodfellow, Bengio and Courville 2016, Deep Learning, Section 8.3.2"
SUTSKEVER = "Sutskever et al. 2013, Section 2: both agree for small lr"
LOSHCHILOV = "Loshchilov and Hutter 2019, arXiv:1711.05101, Algorithm 2"
BOTH = "Loshchilov and Hutter 2019, arXiv:1711.05101, and torch's AdamW"
REDDI = "Reddi et al. 2018, arXiv:1904.09237, Algorithm 2; a switch of torch's AdamW"
DOZAT = "Dozat 2016: Adam's step with Nesterov's momentum"
RADAM = "Liu et al. 2020, arXiv:1908.03265: Adam, once its rectification has reached 1"
ZHUANG = "README of Zhuang et al. 2020, arXiv:2010.07468: github.com/juntang-zhuang/Adabelief-Optimizer"
CHEN = "Chen et al. 2023, arXiv:2302.06675, Section 5"
VYAS = "Vyas et al. 2024, arXiv:2409.11321: Adam in a rotated basis, with one more hyperparameter"
MUON = "Liu et al. 2025, arXiv:2502.16982: steps as large as AdamW's"
ADAN = "README of Xie et al. 2022, arXiv:2208.06677: github.com/sail-sg/Adan"
FREE = "README of Defazio et al. 2024, arXiv:2405.15682: github.com/facebookresearch/schedule_free"
PRODIGY = "README of Mishchenko and Defazio 2023, arXiv:2306.06101: github.com/konstmish/prodigy"


@rule("sgd_momentum", "heavy_ball", POLYAK)
@rule("heavy_ball", "sgd_momentum", POLYAK)
def lr_inside_or_outside(h: Values, pick: int) -> Values:
    """Everything stays: both are the same while lr is constant."""
    return kept(h, "lr", "momentum", "weight_decay", "weight_decay_form")


@rule("sgd_momentum", "nesterov", SUTSKEVER)
@rule("nesterov", "sgd_momentum", SUTSKEVER)
def momentum_of_nesterov(h: Values, pick: int) -> Values:
    """lr, momentum and weight_decay stay."""
    return kept(h, "lr", "momentum", "weight_decay", "weight_decay_form")


@rule("sgd", "sgd_momentum", VELOCITY)
def with_momentum(h: Values, pick: int) -> Values:
    """momentum 0.9, which makes a steady step 10 times as long: lr 10 times smaller; the decay is as strong as it was."""
    return same_decay(h, h["lr"] * (1 - 0.9)) | {"momentum": 0.9}


@rule("sgd_momentum", "sgd", VELOCITY)
def without_momentum(h: Values, pick: int) -> Values:
    """lr / (1 - momentum), the length of a steady step; the decay is as strong as it was."""
    return same_decay(h, h["lr"] / (1 - h["momentum"]))


@rule("sgd_momentum", "schedule_free_sgd", FREE)
def schedule_free_sgd(h: Values, pick: int) -> Values:
    """lr 10 to 50 times larger; momentum 0.9, here the share of the average; weight_decay stays, but wants tuning."""
    return kept(h, "weight_decay", "weight_decay_form") | {"lr": h["lr"] * (10.0, 20.0, 50.0)[pick], "momentum": 0.9}


@rule("adam", "adamw", LOSHCHILOV)
def to_adamw(h: Values, pick: int) -> Values:
    """Everything stays: AdamW is Adam with weight_decay_form=times_lr."""
    return adams(h) | outside(h)


@rule("adamw", "adam", LOSHCHILOV)
@rule("adam", "amsgrad", REDDI)
@rule("amsgrad", "adam", REDDI)
@rule("adam", "nadam", DOZAT)
@rule("nadam", "adam", DOZAT)
@rule("adam", "radam", RADAM)
@rule("radam", "adam", RADAM)
def as_adam(h: Values, pick: int) -> Values:
    """lr, betas, eps, weight_decay and its form stay."""
    return adams(h) | kept(h, "weight_decay", "weight_decay_form")


@rule("adam", "adabelief", ZHUANG)
def eps_squared(h: Values, pick: int) -> Values:
    """lr, betas, weight_decay and its form stay; eps is squared, since it is added to a squared gradient."""
    return as_adam(h, pick) | {"eps": h["eps"] ** 2}


@rule("adabelief", "adam", ZHUANG)
def root_of_eps(h: Values, pick: int) -> Values:
    """lr, betas, weight_decay and its form stay; eps becomes its root, since it is added to a gradient's size."""
    return as_adam(h, pick) | {"eps": math.sqrt(h["eps"])}


@rule("adamw", "lion", CHEN)
def to_lion(h: Values, pick: int) -> Values:
    """lr 3 to 10 times smaller, weight_decay as many times larger, betas (0.9, 0.99)."""
    factor = (10.0, 5.0, 3.0)[pick]
    return outside(h, factor) | {"lr": h["lr"] / factor, "betas": [0.9, 0.99]}


@rule("lion", "adamw", CHEN)
def from_lion(h: Values, pick: int) -> Values:
    """lr 3 to 10 times larger, weight_decay as many times smaller, betas (0.9, 0.999), eps 1e-8."""
    factor = (3.0, 5.0, 10.0)[pick]
    return outside(h, 1 / factor) | {"lr": h["lr"] * factor, "betas": [0.9, 0.999], "eps": 1e-8}


@rule("adamw", "soap", VYAS)
@rule("soap", "adamw", VYAS)
def rotated(h: Values, pick: int) -> Values:
    """lr, betas, eps and weight_decay stay."""
    return adams(h) | outside(h)


@rule("adamw", "muon", MUON)
def to_muon(h: Values, pick: int) -> Values:
    """lr and weight_decay stay, with adjust_lr=match_rms_adamw; betas and eps are for what is no matrix."""
    element = {"betas": h["betas"], "adam_eps": h["eps"]}
    return outside(h) | element | {"lr": h["lr"], "adjust_lr": "match_rms_adamw"}


@rule("muon", "adamw", MUON)
def from_muon(h: Values, pick: int) -> Values:
    """lr and weight_decay stay, of adjust_lr=match_rms_adamw; betas and eps are those of what is no matrix."""
    if h["adjust_lr"] != "match_rms_adamw":
        raise ConfigError(
            f"adjust_lr={h['adjust_lr']} has no counterpart in adamw, whose steps do not grow with a matrix; allowed "
            "is match_rms_adamw."
        )
    return outside(h) | {"lr": h["lr"], "betas": h["betas"], "eps": h["adam_eps"]}


@rule("adamw", "adan", ADAN)
def to_adan(h: Values, pick: int) -> Values:
    """lr 5 to 10 times larger, the betas of the paper; a weight_decay becomes 0.02, the authors' in all experiments."""
    decay = outside(h) | ({"weight_decay": 0.02} if h["weight_decay"] else {})
    return decay | {"lr": h["lr"] * (5.0, 7.0, 10.0)[pick], "eps": h["eps"]}


@rule("adamw", "schedule_free_adamw", FREE)
def schedule_free_adamw(h: Values, pick: int) -> Values:
    """lr 1 to 10 times larger; the first of betas 0.9, here the share of the average; the rest stays, but weight_decay
    wants tuning.
    """
    return adams(h) | outside(h) | {"lr": h["lr"] * (1.0, 3.0, 10.0)[pick], "betas": [0.9, h["betas"][1]]}


@rule("adamw", "prodigy", PRODIGY)
def to_prodigy(h: Values, pick: int) -> Values:
    """lr 1, whatever it was; betas, eps and weight_decay stay, since decay acts as in AdamW."""
    return adams(h) | outside(h) | {"lr": 1.0}


def kept(h: Values, *keys: str) -> Values:
    """Some of the values, as they are."""
    return {key: h[key] for key in keys}


def adams(h: Values) -> Values:
    """What every relative of Adam has."""
    return kept(h, "lr", "betas", "eps")


def outside(h: Values, factor: float = 1.0) -> Values:
    """A weight decay outside of the adaptive scaling, of the form times_lr, times a factor."""
    if h["weight_decay"] and h["weight_decay_form"] != "times_lr":
        raise ConfigError(
            f"weight_decay={shown(h['weight_decay'])} is an L2 penalty here, which the adaptive scaling makes another "
            "one for every weight, so that no decay outside of it is its counterpart; allowed is weight_decay=0, or "
            "weight_decay_form=times_lr."
        )
    return {"weight_decay": h["weight_decay"] * factor, "weight_decay_form": "times_lr"}


def same_decay(h: Values, lr: float) -> Values:
    """The learning rate, with a decay of the same strength: inside of the gradient it follows the step by itself."""
    form, decay = h["weight_decay_form"], h["weight_decay"]
    return {"lr": lr, "weight_decay": decay * h["lr"] / lr if form == "times_lr" else decay, "weight_decay_form": form}


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
    runs = []
    for pick in (LOW, AT, HIGH):
        values = with_form(start, "times_lr") if start.get("weight_decay_form") == "decoupled" else start
        for one in path:
            after = defaults(one.target, "to")
            shared = {key: values[key] for key in ("cautious", "maximize") if key in values and key in after}
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
        raise ConfigError(f"{key}={shown(name)} is unknown;{did_you_mean(near(name, known))} allowed are {', '.join(known)}.")
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
    below = 1.0 if key in ("momentum", "betas") else math.inf
    if isinstance(default, list):
        fits = isinstance(value, list) and len(value) == len(default)
        fits = fits and all(_number(one, below) or (one is None and old is None) for one, old in zip(value, default))
        return "" if fits else f"a list of {len(default)} numbers" + (" from 0 to below 1" if below == 1 else "")
    if (value is None and default is None) or (_number(value, below) and (key != "lr" or value > 0)):
        return ""
    if key == "lr":
        return "a number above 0"
    return "a number from 0 to below 1" if below == 1 else "a number of 0 or more"


def _number(value: Any, below: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < below


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
            raise ConfigError(f"{shown(word)} is not possible; allowed is key=value, such as from=adamw to=lion lr=3e-4.")
        value = OverridesParser.create().parse_override(word).value()
        given[key.removeprefix("optimizer.")] = value
    return given


def _directly() -> list[str]:
    """Lines that say which optimizers a single rule leads to."""
    sources = dict.fromkeys(one.source for one in RULES)
    lines = [f"  {name:<13} to {', '.join(one.target for one in RULES if one.source == name)}" for name in sources]
    return ["", "Rules, of which several may be taken in turn:", *lines]
