"""Learning-rate schedules as a picture and in the terminal, before anything is trained. Nothing here imports torch."""

import difflib
import math
import os
import shutil
import sys
from pathlib import Path

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from steepest.budget import Budget
from steepest.build import build
from steepest.config import compose, conf_dir, spelled_out
from steepest.curves import Curve, in_terminal, runs, save
from steepest.errors import ConfigError

USAGE = """usage: steepest preview [schedule=NAME] [key=value] ... [output=FILE]

  steepest preview schedule=warmup_cosine                   one schedule
  steepest preview 'schedule=glob(*)'                       all of them (in quotes, for the shell's sake)
  steepest preview schedule=cosine,step optimizer.lr=0.1    several
  steepest preview schedule=wsd schedule.decay=0.1,0.3      one, with several values

budget.steps and budget.epochs are the length of the run (1,000 steps, 10 epochs), output is the picture's file
(preview.png; or a .pdf, .svg). Every other key is one of the configuration; batch.lr_scaling is left out."""

STEPS, EPOCHS = 1000, 10  # length of the run, where it is not given
POINTS = 4000  # drawn of a curve, at most
FORMATS = (".png", ".pdf", ".svg")


def main(arguments: list[str] | None = None) -> int:
    """Draw what the command line asks for; returns the exit code.

    Raises:
        ConfigError: before anything is drawn, for what the user can mend.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    output = output_file([text for text in arguments if text.startswith("output=")])
    curves = [
        curve(job, chosen) for job, chosen in jobs([text for text in arguments if not text.startswith("output=")])
    ]
    save(curves, output)
    width = shutil.get_terminal_size((80, 24)).columns
    print(in_terminal(curves, min(width, 120), colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    print(f"\n{runs(curves)}; budget.steps and budget.epochs set another length.\n{output}")
    return 0


def output_file(given: list[str]) -> Path:
    """The picture's file, from the arguments `output=FILE`."""
    path = Path(given[-1].removeprefix("output=") if given else "preview.png").expanduser()
    if path.suffix.lower() not in FORMATS or path.is_dir():
        raise ConfigError(f"output={path} is no picture; allowed are file names that end in {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"output={path} lies in a folder that does not exist; allowed are existing folders.")
    return path


def jobs(overrides: list[str]) -> list[tuple[list[str], list[str]]]:
    """Expand comma lists, glob and range as a sweep of Hydra's does: each job's overrides, and those that it varies."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        names = loader.get_group_options("schedule")
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([spelled_out(text) for text in overrides])
        fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
        sweeps = [override for override in parsed if override.is_sweep_override()]
        expanded = BasicSweeper.split_arguments(sweeps, max_batch_size=None)[0]
    if not expanded:
        empty = " ".join(str(override.input_line) for override in sweeps)
        raise ConfigError(f"{empty} matches nothing; allowed schedules are {', '.join(names)}.")
    for text in [*fixed, *(text for varied in expanded for text in varied)]:
        key, _, name = text.partition("=")
        if key == "schedule" and name.strip("'\"") not in names:
            nearest = sorted(names, key=lambda known: -difflib.SequenceMatcher(None, known, name).ratio())
            raise ConfigError(f"schedule={name} does not exist; allowed are {', '.join(nearest)}.")
    return [([*fixed, *varied], varied) for varied in expanded]


def curve(overrides: list[str], varied: list[str]) -> Curve:
    """Compute the schedule of the configuration under these overrides; those that vary go into its title."""
    cfg = compose(overrides)
    Budget(**cfg.budget)  # refuses what is out of range
    total = math.ceil(cfg.budget.steps or STEPS)
    epochs = cfg.budget.epochs if any(text.startswith("budget.epochs=") for text in overrides) else min(EPOCHS, total)
    lr = cfg.optimizer.get("lr")
    if isinstance(lr, bool) or not isinstance(lr, int | float):
        raise ConfigError(f"optimizer.lr={lr} is not a number; allowed is 0 or more.")
    epochs = epochs or total
    schedule = build(cfg.schedule).bind(lr=lr, steps_per_epoch=max(1, round(total / epochs)), total=total)
    points = min(total, POINTS)
    steps = [i * (total - 1) // max(1, points - 1) for i in range(points)]
    momentum = [schedule.momentum(t, total) for t in steps]
    changes = [text.removeprefix("schedule.") for text in varied if not text.startswith("schedule=")]
    return Curve(
        title=" ".join([cfg.choices.schedule, *changes]),
        settings=", ".join(f"{key}={value}" for key, value in as_yaml(cfg.schedule).items()),
        total=total,
        epochs=epochs,
        steps=steps,
        lr=[lr * schedule.multiplier(t, total) for t in steps],
        momentum=None if None in momentum else momentum,
    )


def as_yaml(node: DictConfig) -> dict[str, str]:
    """The settings of a schedule, without those that are null."""
    given = {str(key): value for key, value in node.items() if key != "_target_" and value is not None}
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}
