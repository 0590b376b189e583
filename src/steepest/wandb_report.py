"""`steepest wandb-report`: a study on Weights & Biases, its verdicts above the curves of its runs."""

import argparse
import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from steepest.errors import ConfigError, listed
from steepest.studies.study import Study, experiments_dir, load_study

COLUMNS = (
    *("row", "claim", "condition", "verdict", "reason", "recommended", "best_rival", "metric", "direction"),
    *("value", "low", "high", "n", "rival_value", "seeds_needed"),
)
"""Of verdicts.csv, as `steepest reproduce` writes it."""


def main(arguments: list[str]) -> None:
    """Build a W&B report of a study: its verdicts, and for each row the curves, results and search of its runs.

    Raises:
        ConfigError: an unknown study, a file of verdicts that is none, no wandb-workspaces, no API key, or a server
            that does not answer.
    """
    options, words = parse(arguments)
    study = load_study(words["study"], words["scale"], words["rows"].split(",") if words["rows"] else None)
    home = Path(words["study"]).parent if words["study"].endswith(".yaml") else experiments_dir() / study.name
    verdicts = read_verdicts(Path(options.verdicts or home / "verdicts.csv"), study, bool(options.verdicts))
    entity, project = place(options.wandb)
    if options.dry_run:
        report = build(study, verdicts, entity, project)
        try:
            Path(options.dry_run).write_text(json.dumps(specification(report), indent=1) + "\n")
        except OSError as error:
            raise ConfigError(f"--dry-run={options.dry_run} cannot be written ({error.strerror}).") from None
        print(f"{options.dry_run}: the report's specification, of {len(study.rows)} rows; nothing is sent")
        return
    print(save(study, verdicts, entity, project))


def parse(arguments: list[str]) -> tuple[argparse.Namespace, dict[str, str]]:
    """The options, and the words study, scale and rows.

    Raises:
        ConfigError: another word, or no study.
    """
    parser = argparse.ArgumentParser(prog="steepest wandb-report", description=str(main.__doc__).partition("\n")[0])
    parser.add_argument("words", metavar="key=value", nargs="*", help="study=NAME, scale=smoke|small|full, rows=A,B")
    parser.add_argument("--wandb", metavar="ENTITY/PROJECT", help="default: the login's entity, project steepest")
    parser.add_argument("--verdicts", metavar="FILE", help="default: experiments/NAME/verdicts.csv, if it is there")
    parser.add_argument("--dry-run", metavar="FILE", help="write what would be sent as JSON; needs no network, no key")
    options = parser.parse_intermixed_args(arguments)
    words = {"study": "", "scale": "small", "rows": ""}
    for word in options.words:
        key, sign, value = word.partition("=")
        if key not in words or not sign:
            raise ConfigError(f"{word} is not possible; allowed are study=NAME, scale=NAME and rows=NAME,NAME.")
        words[key] = value
    if not words["study"]:
        raise ConfigError("study is missing; allowed is study=NAME, such as study=domains.")
    return options, words


def place(given: str | None) -> tuple[str, str]:
    """W&B's entity (empty: the login's) and project.

    Raises:
        ConfigError: it is not of the form entity/project.
    """
    if given is None:
        return os.environ.get("WANDB_ENTITY", ""), os.environ.get("WANDB_PROJECT", "steepest")
    entity, _, project = given.partition("/")
    if not entity or not project or "/" in project:
        raise ConfigError(f"--wandb={given} is not possible; allowed is entity/project.")
    return entity, project


def read_verdicts(file: Path, study: Study, asked: bool) -> dict[str, dict[str, Any]]:
    """The verdict of each row of the study that has one; none where there is no file and none was asked for.

    Raises:
        ConfigError: there is no such file, it is none of verdicts, or of another study.
    """
    if not file.is_file() and not asked:
        return {}
    try:
        frame = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--verdicts={file} cannot be read ({str(error).splitlines()[0]}).") from None
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ConfigError(f"--verdicts={file} lacks {listed(missing)}; allowed is what `steepest reproduce` writes.")
    if "scale" in frame:
        frame = frame[frame["scale"] == study.scale]
    known = [row.name for row in study.rows]
    found = {str(line["row"]): line for line in frame.to_dict("records") if str(line["row"]) in known}
    if asked and not found:
        raise ConfigError(f"--verdicts={file} has no row of {study.name} at this scale; allowed are {listed(known)}.")
    return {name: {str(key): value for key, value in line.items()} for name, line in found.items()}


def save(study: Study, verdicts: Mapping[str, Mapping[str, Any]], entity: str, project: str) -> str:
    """Send the report to W&B; returns its address.

    Raises:
        ConfigError: no API key, or a server that does not answer.
    """
    from steepest.runs.wandb_run import has_key, server, without_key

    if not has_key():
        raise ConfigError(
            "There is no API key for W&B; allowed is the environment's WANDB_API_KEY or `wandb login`, and --dry-run "
            "without one."
        )
    try:
        if not entity:
            import wandb

            entity = wandb.Api().default_entity or ""
        report = build(study, verdicts, entity, project)
        specification(report)  # what is wrong with it is no fault of the server's
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{server()} does not answer: {without_key(error).rstrip('.')}.") from None
    try:
        report.save()
    except Exception as error:  # wandb's, its transport's or pydantic's, by what went wrong
        raise ConfigError(f"{server()} has not taken the report: {without_key(error).rstrip('.')}.") from None
    return str(report.url)


def specification(report: Any) -> dict[str, Any]:
    """What W&B would be sent."""
    spec: dict[str, Any] = json.loads(report._to_model().model_dump_json(by_alias=True, exclude_none=True))
    return spec


def build(study: Study, verdicts: Mapping[str, Mapping[str, Any]], entity: str, project: str) -> Any:
    """The report, of wandb-workspaces.

    Raises:
        ConfigError: wandb-workspaces is not installed.
    """
    if find_spec("wandb_workspaces") is None:
        raise ConfigError("wandb-workspaces is not installed; allowed is `pip install 'steepest[reports]'`.")
    from steepest.report import wandb_blocks

    return wandb_blocks.report(study, verdicts, entity, project)
