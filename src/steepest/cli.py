"""The `steepest` command. Nothing here imports torch, so that a mistake in a command line is answered at once."""

import sys
from pkgutil import resolve_name

from steepest.errors import ConfigError
from steepest.launchers.processes import JobFailed
from steepest.mistakes import OF_THE_USER, sentence

USAGE = """usage: steepest COMMAND ...

  train [group=value] [key=value] ...   train one network (--help lists groups and keys; -m sweeps;
                                        --allow-target PACKAGE lets _target_ name objects of yours)
  eval RUN [options]                    measure the model of a run on its data
  predict RUN [options]                 write the predictions of a run's model
  status [SWEEP ...]                    say how sweeps stand: done, failed, preempted, missing, stale
  reproduce study=NAME ...              run a study of claims, and say what holds
  compare RUN ... [options]             tables, figures and one page from run folders
  preview schedule=NAME ...             draw learning-rate schedules
  translate from=NAME to=NAME ...       turn a setting of one optimizer into one of another
  prepare DATASET ...                   download data sets once, before jobs use them
  sync [RUN ...]                        upload run folders to Weights & Biases
  wandb-report study=NAME ...           build a W&B report of a study
  wandb-sweep optimizer=NAME ...        write an optimizer's search space as a W&B sweep
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
    except JobFailed as error:
        print(f"steepest: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


COMMANDS: dict[str, str] = {
    "train": "steepest.hydra_app:train",
    "eval": "steepest.evaluate:evaluate_command",
    "predict": "steepest.evaluate:predict_command",
    "preview": "steepest.preview:main",
    "translate": "steepest.translate:main",
    "prepare": "steepest.prepare:main",
    "sync": "steepest.sync_wandb:main",
    "gc": "steepest.gc:main",
    "status": "steepest.status:main",
    "reproduce": "steepest.reproduce:main",
    "compare": "steepest.compare:main",
    "wandb-report": "steepest.wandb_report:main",
    "wandb-sweep": "steepest.wandb_sweep:main",
    "doctor": "steepest.doctor:main",
    "completion": "steepest.completion:main",
}
"""The function of each command, found by name when it is called."""


if __name__ == "__main__":
    sys.exit(main())
