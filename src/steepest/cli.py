"""The `steepest` command. Nothing here imports torch, so that a mistake in a command line is answered at once."""

import argparse
import contextlib
import io
import math
import os
import sys
from collections.abc import Iterator
from pkgutil import resolve_name

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from steepest.config import conf_dir, spelled_out, with_choices
from steepest.errors import ConfigError
from steepest.mistakes import OF_THE_USER, check_words, sentence
from steepest.targets import ALLOW_VARIABLE, allowed
from steepest.unknown import OF_STUDIES

USAGE = """usage: steepest COMMAND ...

  train [group=value] [key=value] ...   train one network (--help lists groups and keys; -m sweeps;
                                        --allow-target PACKAGE lets _target_ name objects of yours)
  eval RUN [options]                    measure the model of a run on its data
  predict RUN [options]                 write the predictions of a run's model
  preview schedule=NAME ...             draw learning-rate schedules
  translate from=NAME to=NAME ...       turn a setting of one optimizer into one of another
  prepare DATASET ...                   download data sets once, before jobs use them
  sync [RUN ...]                        upload run folders to Weights & Biases
  gc                                    free the disk of old checkpoints and attempts
  doctor                                say what this machine has, and what to do about what is missing
  completion                            print what makes TAB complete groups and values

RUN is a run folder, or the id of one below runs/. Each command answers --help."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code (2: the command line or the configuration is wrong)."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help", "help"):
        print(USAGE)
        return 0
    if command not in COMMANDS:
        print(f"steepest: {command!r} is no command; allowed are {', '.join(COMMANDS)}.", file=sys.stderr)
        return 2
    try:
        return resolve_name(COMMANDS[command])(rest) or 0
    except (ConfigError, *OF_THE_USER) as error:
        said = str(error) if isinstance(error, ConfigError) else sentence(error, rest)
        print(f"steepest: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def train(arguments: list[str]) -> int:
    """Compose the configuration from the command line and train, or sweep with -m."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # the exception itself, instead of several lines and exit code 1
    arguments, allow = targets_allowed(arguments)
    # Flags first: Hydra's parser wants its overrides in one piece.
    words = sorted(map(spelled_out, arguments), key=lambda word: word not in ("-m", "--multirun"))
    check_words(words)
    sys.argv = [sys.argv[0], *words]

    mistakes = 0

    def job(cfg: DictConfig) -> float:
        nonlocal mistakes
        os.environ[ALLOW_VARIABLE] = allow  # a config file could have changed it, through hydra.job.env_set
        hydra_config = HydraConfig.get()
        try:
            with_choices(cfg, hydra_config.runtime.choices)
            from steepest import schema

            schema.check(cfg)
            from steepest import build, train  # only now: they import torch

            build.check(cfg)
            return train.train(cfg)
        except ConfigError as mistake:  # kept from Hydra, which would add lines of its own and end a sweep
            of_a_sweep = hydra_config.mode is RunMode.MULTIRUN
            where = f" ({' '.join(hydra_config.overrides.task)})" if of_a_sweep else ""
            print(f"steepest: {mistake}{where}", file=sys.stderr)
            mistakes += 1
            return math.nan

    run = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    with help_of_a_run() if {"-h", "--help"} & set(words) else contextlib.nullcontext():
        run()
    return 2 if mistakes else 0


@contextlib.contextmanager
def help_of_a_run() -> Iterator[None]:
    """Leave out of Hydra's help, which lists every folder of conf/, those that a run does not choose from."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text):
            yield
    finally:  # Hydra exits when it has printed
        for line in text.getvalue().splitlines():
            if line.partition(": ")[0] not in OF_STUDIES:
                print(line)


def targets_allowed(arguments: list[str]) -> tuple[list[str], str]:
    """The arguments without `--allow-target PACKAGE`, and what is then allowed beside our own list."""
    parser = argparse.ArgumentParser(prog="steepest train", add_help=False, allow_abbrev=False)
    parser.add_argument("--allow-target", metavar="PACKAGE", action="append", default=[])
    options, rest = parser.parse_known_args(arguments)
    os.environ[ALLOW_VARIABLE] = ",".join(filter(None, [os.environ.get(ALLOW_VARIABLE), *options.allow_target]))
    allowed()  # says what is no name of a package
    return rest, os.environ[ALLOW_VARIABLE]


COMMANDS: dict[str, str] = {
    "train": "steepest.cli:train",
    "eval": "steepest.evaluate:evaluate_command",
    "predict": "steepest.evaluate:predict_command",
    "preview": "steepest.preview:main",
    "translate": "steepest.translate:main",
    "prepare": "steepest.prepare:main",
    "sync": "steepest.sync_wandb:main",
    "gc": "steepest.gc:main",
    "doctor": "steepest.doctor:main",
    "completion": "steepest.completion:main",
}
"""The function of each command, found by name when it is called."""


if __name__ == "__main__":
    sys.exit(main())
