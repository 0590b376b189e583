"""Hydra's part of a command line: compose the configuration and train, or hand a sweep to its sweeper and launcher."""

import argparse
import contextlib
import io
import math
import os
import sys
from collections.abc import Iterator

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from steepest.config import conf_dir, spelled_out, with_choices
from steepest.errors import ConfigError
from steepest.mistakes import check_words
from steepest.targets import ALLOW_VARIABLE, allowed
from steepest.unknown import OF_STUDIES

OF_SWEEPS = ("seeds", "dry_run", "retry_failed")
"""Words of a sweep that are keys of its sweeper."""


def train(arguments: list[str]) -> int:
    """Compose the configuration from the command line and train, or sweep with -m."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # the exception itself, instead of several lines and exit code 1
    arguments, allow = targets_allowed(arguments)
    # Flags first: Hydra's parser wants its overrides in one piece.
    words = sorted(map(spelled_out, of_sweeps(arguments)), key=lambda word: word not in ("-m", "--multirun"))
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


def of_sweeps(words: list[str]) -> list[str]:
    """The words with what a sweep is asked (`seeds=5`) as keys of its sweeper.

    Raises:
        ConfigError: there is no sweep.
    """
    asked = [word for word in words if word.startswith(tuple(f"{key}=" for key in OF_SWEEPS))]
    if asked and not {"-m", "--multirun"} & {*words}:
        raise ConfigError(f"{asked[0]} is for sweeps; allowed with -m.")
    return [f"hydra.sweeper.{word}" if word in asked else word for word in words]


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
