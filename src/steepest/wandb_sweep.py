"""`steepest wandb-sweep`: the search spaces of conf/search as W&B sweeps, one file an optimizer."""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from steepest import schema
from steepest.config import compose
from steepest.errors import ConfigError, listed, shown
from steepest.mistakes import check_words
from steepest.search import Dimension, search_space
from steepest.tasks.headline import headline

METHODS = ("bayes", "random", "grid")
DEFAULTS = {"method": "bayes", "trials": "32", "early_terminate": "false"}
"""Words of ours among the overrides, and their values where they are not given."""

LEVELS, GRID_LEVELS = 16, 5
"""Values of a range that W&B can only take as a list: where it has no such scale, and in a grid."""

GOALS = {"min": "minimize", "max": "maximize"}


def main(arguments: list[str]) -> None:
    """Write each optimizer's search space as a W&B sweep.

    Raises:
        ConfigError: an unknown optimizer, method or override, or a run that would send nothing to W&B.
    """
    options, words = parse(arguments)
    own = DEFAULTS | {key: value for key, _, value in (w.partition("=") for w in words) if key in DEFAULTS}
    words = [word for word in words if word.partition("=")[0] not in DEFAULTS]
    chosen = [word.partition("=")[2] for word in words if word.startswith("optimizer=")]
    fixed = [word for word in words if not word.startswith("optimizer=")]
    if not chosen or not all(names := chosen[-1].split(",")):
        raise ConfigError("optimizer is missing; allowed are names such as optimizer=adamw,sgd_momentum.")
    sweeps = {name: sweep(name, fixed, own) for name in dict.fromkeys(names)}  # all are right before one is written
    folder = Path(options.out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in sweeps.items():
            file = folder / f"sweep-{name}.yaml"
            file.write_text(f"# wandb sweep {file}, then wandb agent with what that prints\n{as_yaml(content)}")
            print(f"{file}: {len(content['parameters'])} hyperparameters; wandb sweep {file}")
    except OSError as error:
        raise ConfigError(f"--out={folder} cannot be written ({error.strerror}); allowed is a folder.") from None


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options, and the words key=value."""
    parser = argparse.ArgumentParser(
        prog="steepest wandb-sweep",
        description=str(main.__doc__).partition("\n")[0],
        epilog="Beside overrides of train: method=bayes|random|grid (bayes), trials=N (32; the same for each "
        "optimizer; no limit in a grid), early_terminate=true (hyperband).",
    )
    parser.add_argument("words", metavar="key=value", nargs="*", help="optimizer=NAME,NAME and what each run has")
    parser.add_argument("--out", metavar="DIR", default=".", help="folder of the files sweep-NAME.yaml")
    options = parser.parse_intermixed_args(arguments)
    return options, options.words


def sweep(optimizer: str, fixed: Sequence[str], own: Mapping[str, str]) -> dict[str, Any]:
    """The W&B sweep of an optimizer: its own hyperparameters, without those that `fixed` sets.

    Args:
        optimizer: a value of the group `optimizer`.
        fixed: overrides that every run has, such as `experiment=vision_cnn`.
        own: method, trials and early_terminate, as `DEFAULTS` has them.

    Raises:
        ConfigError: a value that is not possible.
    """
    method, trials, stop = own["method"], own["trials"], own["early_terminate"].lower()
    if method not in METHODS:
        raise ConfigError(f"method={shown(method)} is not possible; allowed is {listed(METHODS, 'or')}.")
    if not trials.isdecimal() or not int(trials):
        raise ConfigError(f"trials={trials} is not possible; allowed is a whole number above 0.")
    if stop not in ("true", "false"):
        raise ConfigError(f"early_terminate={shown(stop)} is not possible; allowed is true or false.")
    space = search_space(optimizer)
    words = [f"optimizer={optimizer}", *fixed]
    check_words(words)
    cfg = compose(words)
    schema.check(cfg)
    mirrors = [node for node in cfg.logger.values() if str(node.get("_target_", "")).endswith(".WandbLogger")]
    if not mirrors:
        raise ConfigError(f"logger={shown(cfg.choices.logger)} sends nothing to W&B; allowed is logger=wandb.")
    name, direction = headline(cfg)
    free = [dimension for dimension in space.dimensions if not is_set(dimension.key, fixed)]
    if not free:
        raise ConfigError(f"optimizer={optimizer} has nothing left to search; allowed is to leave some values open.")
    # A trial that was run before must answer too, so it is run again; its old attempt is kept aside.
    force = [] if any(word.startswith("force=") for word in fixed) else ["force=true"]
    return {
        "name": "-".join(filter(None, [cfg.choices.get("experiment") or cfg.choices.dataset, optimizer])),
        "project": mirrors[0].project,
        **({"entity": mirrors[0].entity} if mirrors[0].entity else {}),
        "program": "train.py",
        "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}", *words, *force],
        "method": method,
        "metric": {"name": name, "goal": GOALS[direction], "impute": "worst"},  # of a run that diverged or failed
        "parameters": {override(dimension.key): parameter(dimension, method) for dimension in free},
        **({} if method == "grid" else {"run_cap": int(trials)}),
        # Three validations of the ten that a run has by default.
        **({"early_terminate": {"type": "hyperband", "min_iter": 3}} if stop == "true" else {}),
    }


def parameter(dimension: Dimension, method: str) -> dict[str, Any]:
    """The values of a hyperparameter as W&B draws them.

    W&B has no scale on which 0.9, 0.99 and 0.999 are even, and a grid takes only lists: there the range becomes values
    that are evenly spaced on its scale, both ends among them.
    """
    if dimension.choices:
        # The agent writes str(value) on the command line, and Hydra reads None as a word.
        return {"values": [v if isinstance(v, bool | int | float) else shown(v) for v in dimension.choices]}
    if method == "grid" or dimension.scale == "log_one_minus":
        count = GRID_LEVELS if method == "grid" else LEVELS
        inner = [float(f"{dimension.value(place / (count - 1)):.6g}") for place in range(1, count - 1)]
        return {"values": [dimension.low, *inner, dimension.high]}
    names = {"log": "log_uniform_values", "linear": "uniform"}
    return {"distribution": names[dimension.scale], "min": dimension.low, "max": dimension.high}


def override(key: str) -> str:
    """The key of a hyperparameter on the command line: `betas[1]` is optimizer.betas.1."""
    return f"optimizer.{key.replace('[', '.').removesuffix(']')}"


def is_set(key: str, fixed: Sequence[str]) -> bool:
    """Whether overrides set a hyperparameter, or the list that it is an entry of."""
    names = {word.lstrip("+~").partition("=")[0] for word in fixed}
    return bool({override(key), f"optimizer.{key.partition('[')[0]}"} & names)


def as_yaml(content: Mapping[str, Any]) -> str:
    """The file's text; numbers as every reader of YAML takes them (1.0e-05, for 1e-05 is text in YAML 1.1)."""
    return str(yaml.safe_dump(dict(content), sort_keys=False, width=math.inf))
