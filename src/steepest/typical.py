"""Typical ranges of hyperparameters, and what a configuration sets outside of them: information, no warning."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from hydra.errors import HydraException

from steepest.config import compose, resolved
from steepest.errors import ConfigError

CNN = "computer vision (CNNs)"
TRANSFORMER = "transformers"
LLM = "large language models"
GAN = "GANs"
RL = "reinforcement learning"
SGD = "SGD"
ADAM = "Adam and AdamW"
LION = "Lion"
DECAY = "weight decay (it depends on the task)"
WARMUP = "the warm-up's share of a run"

KINDS: dict[str, str] = {
    **dict.fromkeys(("CNN", "VGG", "ResNet", "CifarResNet", "ResNet9"), CNN),
    **dict.fromkeys(("ViT", "TextTransformer"), TRANSFORMER),
    "GPT": LLM,
    "GAN": GAN,
    **dict.fromkeys(("PPO", "DQN"), RL),
    **dict.fromkeys(("SGD", "SGDMomentum", "HeavyBall", "Nesterov"), SGD),
    **dict.fromkeys(("Adam", "AdamW"), ADAM),
    "Lion": LION,
    **dict.fromkeys(("WarmupCosine", "LinearWarmupDecay", "WSD", "InverseSqrt"), WARMUP),
}
"""What tasks, models, optimizers and schedules are, by the names of their classes; to others no range applies."""


@dataclass(frozen=True)
class Range:
    """The typical values of one hyperparameter, ends included, for what is of a kind."""

    key: str
    kind: str
    low: float
    high: float


# The specification's tables: learning rates, momentum, betas, decay, warm-up and clipping from its typical ranges,
# batch sizes and the betas of GANs from its recommendations by domain. Of two that apply to a key the later one counts.
TYPICAL = (
    Range("optimizer.lr", SGD, 0.01, 0.1),
    Range("optimizer.lr", ADAM, 1e-4, 3e-4),
    Range("optimizer.lr", LION, 1e-5, 3e-5),
    Range("optimizer.momentum", SGD, 0.9, 0.99),
    Range("optimizer.betas[0]", ADAM, 0.9, 0.9),
    Range("optimizer.betas[1]", ADAM, 0.95, 0.999),
    Range("optimizer.betas[0]", GAN, 0.0, 0.0),
    Range("optimizer.betas[1]", GAN, 0.99, 0.99),
    Range("optimizer.weight_decay", DECAY, 0.01, 0.1),
    Range("schedule.warmup", WARMUP, 0.01, 0.05),
    Range("clip.norm", TRANSFORMER, 1.0, 1.0),
    Range("clip.norm", LLM, 1.0, 1.0),
    Range("batch.size", CNN, 64, 256),
    Range("batch.size", TRANSFORMER, 256, 2048),
    Range("batch.size", LLM, 2048, inf),
    Range("batch.size", GAN, 32, 128),
    Range("batch.size", RL, 32, 256),
)

VOUCHED = ("task", "model", "optimizer", "schedule", "tuned", "experiment")
"""Groups whose files recommend their values. `batch` is none: `batch=single` is a way to set the size."""


def remarks(config: Mapping[str, Any]) -> list[str]:
    """A sentence for every hyperparameter that was set outside of the range that the specification calls typical.

    Only what was set away from the recommended values counts: the defaults of an optimizer, a model or a schedule, an
    experiment and tuned values have reasons of their own (Adam's paper has 1e-3, the specification 1e-4 to 3e-4), and
    a line under every ordinary run would soon be read by nobody. A weight decay or a warm-up of 0 is none, and
    decoupled weight decay (independent of lr) is of another size; a null is not judged.

    Args:
        config: resolved, in plain containers, with `choices`.
    """
    present = kinds(config)
    ranges = {row.key: row for row in TYPICAL if row.kind in present}
    outside = [row for row in ranges.values() if not within(row, config)]
    if not outside:
        return []
    recommended = recommendation(config.get("choices") or {})
    return [sentence(row, config) for row in outside if value(recommended, row.key) != value(config, row.key)]


def kinds(config: Mapping[str, Any]) -> set[str]:
    """What the parts of a configuration are."""
    nodes = [config.get(group) or {} for group in ("task", "model", "optimizer", "schedule")]
    classes = [str(node.get("name") or node.get("_target_")).rpartition(".")[2] for node in nodes]
    decoupled = nodes[2].get("weight_decay_form") == "decoupled"
    return {KINDS[name] for name in classes if name in KINDS} | (set() if decoupled else {DECAY})


def within(row: Range, config: Mapping[str, Any]) -> bool:
    """Whether the value is in the range; what is no number, or switched off by a 0, counts as inside."""
    found = value(config, row.key)
    if row.kind == WARMUP:
        found, _ = share(found, config.get("budget") or {})
    if isinstance(found, bool) or not isinstance(found, int | float):
        return True
    return row.low <= found <= row.high or (found == 0 and row.kind in (DECAY, WARMUP))


def value(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key such as `optimizer.betas[0]`; None where there is none."""
    path, _, index = key.removesuffix("]").partition("[")
    found: Any = config
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    if index:
        return found[int(index)] if isinstance(found, list | tuple) and len(found) > int(index) else None
    return found


def share(warmup: Any, budget: Mapping[str, Any]) -> tuple[float | None, str]:
    """A duration as a share, and of what; None where the budget that it is a part of is not given."""
    if isinstance(warmup, float):
        return warmup, ""
    unit = "epochs" if isinstance(warmup, str) else "steps"
    try:
        return float(str(warmup).removesuffix("s").removesuffix("epoch")) / budget[unit], f"budget.{unit}"
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None, ""


def recommendation(choices: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of these choices with nothing set beside them; empty where it cannot be composed here."""
    given = [f"{group}={choices[group]}" for group in VOUCHED if choices.get(group) is not None]
    if not given:
        return {}
    try:
        return resolved(compose(given))
    except (HydraException, ConfigError):
        return {}


def sentence(row: Range, config: Mapping[str, Any]) -> str:
    """The remark on a value outside of its range."""
    found = value(config, row.key)
    part, whole = share(found, config.get("budget") or {}) if row.kind == WARMUP else (None, "")
    text = f"{row.key}={found}" + (f" ({part:.2g} of {whole})" if whole else "")
    if row.low == row.high:
        return f"{text} differs from {row.low:g}, usual for {row.kind}."
    if row.high == inf:
        return f"{text} lies below {row.low:g}, usual for {row.kind}."
    return f"{text} lies outside {row.low:g} to {row.high:g}, usual for {row.kind}."
