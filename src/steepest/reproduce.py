"""`steepest reproduce`: run a study of claims, and say what is confirmed, refuted, on par or inconclusive."""

import re

from steepest.config import quoted
from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.hydra_app import train
from steepest.studies.study import SCALES, load_study, studies, study_file

OPTIONS = {
    "study": "a folder of experiments/",
    "scale": "smoke (minutes, decides nothing), small (a CPU, hours) or full (a GPU or a cluster)",
    "rows": "some of the study's rows, separated by commas",
    "seeds": "evaluation seeds, in place of the study's",
    "dry_run": "true: stop after the bill",
    "retry_failed": "true: run those again that failed",
    "publish": "true: write results, figures and README to experiments/<study>/, too",
}

ASIDE = ("paths", "logger", "callbacks", "checkpoint")
"""What of a run's configuration may be set: it decides no result."""


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(usage())
        return 0
    options, words = parsed(arguments)
    launchers = [word for word in words if word.startswith("hydra")]
    if not any(word.startswith("hydra/launcher=") for word in launchers):
        launchers = ["hydra/launcher=isolated", *launchers]
    if "hydra/launcher=isolated" in launchers and not any("launcher.verbose" in word for word in launchers):
        launchers.append("hydra.launcher.verbose=false")
    aside = [word for word in words if not word.startswith("hydra")]
    if not any(word.startswith("logger=") for word in aside):
        aside.append("logger=none")
    file = study_file(options["study"])
    options["study"] = quoted(str(file) if options["study"].endswith(".yaml") else options["study"])
    if "rows" in options:
        options["rows"] = f"[{','.join(map(quoted, names(options['rows'])))}]"
    given = [f"hydra.sweeper.{key}={value}" for key, value in options.items()]
    place = [word for word in aside if word.startswith("paths.")]
    own = ["hydra/sweeper=study", *given, f"hydra.sweeper.aside=[{','.join(map(quoted, aside))}]", *launchers, *place]
    jobs = f"${{paths.runs_dir}}/studies/{file.parent.name}-{options.get('scale', 'smoke')}/jobs"
    return train(["-m", *own, f"hydra.sweep.dir={quoted(jobs)}"])


def parsed(arguments: list[str]) -> tuple[dict[str, str], list[str]]:
    """The options of the command, as Hydra reads them, and the overrides that go on.

    Raises:
        ConfigError: a word that is neither.
    """
    options: dict[str, str] = {}
    words = []
    for word in arguments:
        key, equals, value = word.partition("=")
        group = key.lstrip("+~").partition(".")[0]
        if key in OPTIONS and equals:
            options[key] = value
        elif equals and (group in ASIDE or key.startswith(("hydra.launcher.", "hydra/launcher"))):
            words.append(word)
        else:
            meant = did_you_mean(near(key, OPTIONS))
            raise ConfigError(
                f"{shown(word)} is not possible;{meant} allowed are {listed(f'{name}=' for name in OPTIONS)}, "
                f"hydra/launcher= and what decides no result ({listed(ASIDE)}): what runs stands in study.yaml."
            )
    for key in ("dry_run", "retry_failed", "publish"):
        if options.get(key, "true") not in ("true", "false"):
            raise ConfigError(f"{key}={options[key]} is not possible; allowed is true or false.")
    if "study" not in options:
        raise ConfigError(f"study is missing; allowed are study={listed(studies(), 'or')}.")
    if not re.fullmatch("0*([2-9]|[1-9][0-9]+)", options.get("seeds", "2")):
        raise ConfigError(f"seeds={shown(options['seeds'])} is not possible; allowed is an integer of 2 or more.")
    rows = names(options["rows"]) if "rows" in options else None
    load_study(options["study"], options.get("scale", "smoke"), rows)  # what is wrong is told before torch is loaded
    return options, words


def names(rows: str) -> list[str]:
    """The names of rows, with brackets around them or without."""
    return [name.strip() for name in rows.removeprefix("[").removesuffix("]").split(",")]


def usage() -> str:
    """The help."""
    lines = [f"  {f'{key}=':<16}{text}" for key, text in OPTIONS.items()]
    return "\n".join(
        [
            "usage: steepest reproduce study=NAME [scale=smoke|small|full] [rows=A,B] [option=value] [override] ...",
            "",
            *lines,
            f"  {'override':<16}of what decides no result: logger=wandb, paths.runs_dir=..., hydra/launcher=isolated,",
            f"  {'':<16}hydra.launcher.n_jobs=4",
            "",
            f"Studies: {listed(studies())}. Scales: {listed(SCALES)}. Killed, the same command goes on where it was.",
        ]
    )
