"""Published rules that turn the hyperparameters of one optimizer into those of another."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from steepest.errors import ConfigError, shown

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
    """Learning rate, momentum and weight_decay stay."""
    return kept(h, "lr", "momentum", "weight_decay", "weight_decay_form")


@rule("sgd", "sgd_momentum", VELOCITY)
def with_momentum(h: Values, pick: int) -> Values:
    """Momentum 0.9, which makes a steady step 10 times as long; lr 10 times smaller, the decay as strong as before."""
    return same_decay(h, h["lr"] * (1 - 0.9)) | {"momentum": 0.9}


@rule("sgd_momentum", "sgd", VELOCITY)
def without_momentum(h: Values, pick: int) -> Values:
    """Learning rate / (1 - momentum), the length of a steady step; the decay as strong as before."""
    return same_decay(h, h["lr"] / (1 - h["momentum"]))


@rule("sgd_momentum", "schedule_free_sgd", FREE)
def schedule_free_sgd(h: Values, pick: int) -> Values:
    """Learning rate 10 to 50 times larger, momentum 0.9 (the average's share); weight_decay stays, but wants tuning."""
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
    """Learning rate, betas, eps, weight_decay and its form stay."""
    return adams(h) | kept(h, "weight_decay", "weight_decay_form")


@rule("adam", "adabelief", ZHUANG)
def eps_squared(h: Values, pick: int) -> Values:
    """Learning rate, betas, weight_decay and its form stay; eps is squared, since it is added to a squared gradient."""
    return as_adam(h, pick) | {"eps": h["eps"] ** 2}


@rule("adabelief", "adam", ZHUANG)
def root_of_eps(h: Values, pick: int) -> Values:
    """Learning rate, betas, weight_decay and its form stay; eps becomes its root, as it is added to a root."""
    return as_adam(h, pick) | {"eps": math.sqrt(h["eps"])}


@rule("adamw", "lion", CHEN)
def to_lion(h: Values, pick: int) -> Values:
    """Learning rate 3 to 10 times smaller, weight_decay as many times larger, betas (0.9, 0.99)."""
    factor = (10.0, 5.0, 3.0)[pick]
    return outside(h, factor) | {"lr": h["lr"] / factor, "betas": [0.9, 0.99]}


@rule("lion", "adamw", CHEN)
def from_lion(h: Values, pick: int) -> Values:
    """Learning rate 3 to 10 times larger, weight_decay as many times smaller, betas (0.9, 0.999), eps 1e-8."""
    factor = (3.0, 5.0, 10.0)[pick]
    return outside(h, 1 / factor) | {"lr": h["lr"] * factor, "betas": [0.9, 0.999], "eps": 1e-8}


@rule("adamw", "soap", VYAS)
@rule("soap", "adamw", VYAS)
def rotated(h: Values, pick: int) -> Values:
    """Learning rate, betas, eps and weight_decay stay."""
    return adams(h) | outside(h)


@rule("adamw", "muon", MUON)
def to_muon(h: Values, pick: int) -> Values:
    """Learning rate and weight_decay stay, with adjust_lr=match_rms_adamw; betas and eps are for what is no matrix."""
    element = {"betas": h["betas"], "adam_eps": h["eps"]}
    return outside(h) | element | {"lr": h["lr"], "adjust_lr": "match_rms_adamw"}


@rule("muon", "adamw", MUON)
def from_muon(h: Values, pick: int) -> Values:
    """Learning rate and weight_decay stay; betas and eps are those of what is no matrix."""
    if h["adjust_lr"] != "match_rms_adamw":
        raise ConfigError(
            f"adjust_lr={h['adjust_lr']} has no counterpart in adamw, whose steps do not grow with a matrix; allowed "
            "is match_rms_adamw."
        )
    return outside(h) | {"lr": h["lr"], "betas": h["betas"], "eps": h["adam_eps"]}


@rule("adamw", "adan", ADAN)
def to_adan(h: Values, pick: int) -> Values:
    """Learning rate 5 to 10 times larger, the authors' betas and their one weight_decay, 0.02 (0 stays)."""
    decay = outside(h) | ({"weight_decay": 0.02} if h["weight_decay"] else {})
    return decay | {"lr": h["lr"] * (5.0, 7.0, 10.0)[pick], "eps": h["eps"]}


@rule("adamw", "schedule_free_adamw", FREE)
def schedule_free_adamw(h: Values, pick: int) -> Values:
    """Learning rate 1 to 10 times larger, betas[0] 0.9 (the average's share); weight_decay stays, but wants tuning."""
    return adams(h) | outside(h) | {"lr": h["lr"] * (1.0, 3.0, 10.0)[pick], "betas": [0.9, h["betas"][1]]}


@rule("adamw", "prodigy", PRODIGY)
def to_prodigy(h: Values, pick: int) -> Values:
    """Learning rate 1, whatever it was; betas, eps and weight_decay stay, since decay acts as in AdamW."""
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
