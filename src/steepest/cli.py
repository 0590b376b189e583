"""The `steepest` command. Nothing here imports torch, so that a mistake in a command line is answered at once."""

import math
import os
import sys
from pkgutil import resolve_name

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from steepest.config import conf_dir, spelled_out, with_choices
from steepest.errors import ConfigError

USAGE = """usage: steepest COMMAND ...

  train [group=value] [key=value] ...   train one network (--help lists groups and keys; -m sweeps)
  eval RUN [options]                    measure the model of a run on its data
  predict RUN [options]                 write the predictions of a run's model
  preview schedule=NAME ...             draw learning-rate schedules
  prepare DATASET ...                   download data sets once, before jobs use them

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
    except (ConfigError, HydraException, OmegaConfBaseException) as error:
        said = str(error).partition("Config search path:")[0]
        print(f"steepest: {' '.join(said.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def train(arguments: list[str]) -> int:
    """Compose the configuration from the command line and train, or sweep with -m."""
    import hydra

    os.environ["HYDRA_FULL_ERROR"] = "1"  # the exception itself, instead of several lines and exit code 1
    # Flags first: Hydra's parser wants its overrides in one piece.
    sys.argv = [sys.argv[0], *sorted(map(spelled_out, arguments), key=lambda word: word not in ("-m", "--multirun"))]

    mistakes = 0

    def job(cfg: DictConfig) -> float:
        from steepest.train import train as run

        nonlocal mistakes
        hydra_config = HydraConfig.get()
        try:
            return run(with_choices(cfg, hydra_config.runtime.choices))
        except ConfigError as mistake:  # kept from Hydra, which would add lines of its own and end a sweep
            of_a_sweep = hydra_config.mode is RunMode.MULTIRUN
            where = f" ({' '.join(hydra_config.overrides.task)})" if of_a_sweep else ""
            print(f"steepest: {mistake}{where}", file=sys.stderr)
            mistakes += 1
            return math.nan

    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)()
    return 2 if mistakes else 0


COMMANDS: dict[str, str] = {
    "train": "steepest.cli:train",
    "eval": "steepest.evaluate:evaluate_command",
    "predict": "steepest.evaluate:predict_command",
    "preview": "steepest.preview:main",
    "prepare": "steepest.prepare:main",
}
"""The function of each command, found by name when it is called."""


if __name__ == "__main__":
    sys.exit(main())
