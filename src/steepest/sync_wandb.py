"""`steepest sync`: bring run folders to Weights & Biases. Nothing here imports torch."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from steepest.errors import ConfigError
from steepest.runs.files import read_json
from steepest.runs.folder import RunFolder, find_run
from steepest.runs.wandb_values import entries, job_type, origin

START_S, FINISH_S = 15.0, 120.0


def main(arguments: list[str]) -> None:
    """Upload what W&B does not have yet, one W&B run per attempt.

    Raises:
        ConfigError: no such run or folder, no API key, or a server that does not answer.
    """
    options = parse(arguments)
    waiting = []
    for folder in folders(options):
        if folder.running:
            print(f"{folder.path}: is running, left out; it can be uploaded when it has ended")
            continue
        for attempt in attempts(folder):
            if options.run or arrived(attempt) != state(attempt):
                waiting.append(attempt)
    for attempt in waiting:
        rows, status = state(attempt).values()
        if options.dry_run:
            print(f"{attempt.path}: {rows:,} rows, {status}, would be uploaded")
        else:
            url = upload(attempt, options.project, options.entity)
            print(f"{attempt.path}: {rows:,} rows, {status}: {url}", flush=True)
    if not waiting:
        print("Nothing to upload: W&B has all that is there.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="steepest sync", description=str(main.__doc__).partition("\n")[0])
    parser.add_argument("run", metavar="RUN", nargs="*", help="a run folder or run id; default: all not uploaded yet")
    parser.add_argument("--runs-dir", default="runs", help="where runs are looked for")
    parser.add_argument("--project", help="W&B project; default: the one that the run was configured with")
    parser.add_argument("--entity", help="W&B user or team; default: as configured, or the login's")
    parser.add_argument("--dry-run", action="store_true", help="say what would be uploaded")
    return parser.parse_args(arguments)


def folders(options: argparse.Namespace) -> list[RunFolder]:
    """The run folders that are meant.

    Raises:
        ConfigError: there is none of a name, or no folder of runs.
    """
    if options.run:
        return [find_run(name, options.runs_dir) for name in options.run]
    if not Path(options.runs_dir).is_dir():
        raise ConfigError(f"--runs-dir={options.runs_dir} is no folder; allowed is a folder of runs.")
    return [RunFolder(file.parent) for file in sorted(Path(options.runs_dir).glob("*/config.yaml"))]


def attempts(folder: RunFolder) -> Iterator[RunFolder]:
    """Its attempts, those set aside first."""
    aside = [place for place in folder.path.glob("attempts/*") if (place / "config.yaml").is_file()]
    yield from map(RunFolder, sorted(aside, key=lambda place: (len(place.name), place.name)))
    yield folder


def state(attempt: RunFolder) -> dict[str, Any]:
    """What there is to upload. A folder whose process has died says that it is running; W&B calls it crashed."""
    status = attempt.status.get("status", "running")
    return {"rows": len(attempt.rows()), "status": "crashed" if status == "running" else status}


def arrived(attempt: RunFolder) -> dict[str, Any] | None:
    """What W&B has got."""
    return read_json(attempt.path / "wandb" / "mirror.json").get("arrived")


def upload(attempt: RunFolder, project: str | None, entity: str | None) -> str:
    """Make W&B's run equal to the run folder; rows that it has are not sent again. Returns its address.

    Raises:
        ConfigError: no API key, or a server that does not answer.
    """
    from steepest.runs.wandb_run import WandbRun, has_key, record  # slow, and not needed for a dry run

    if not has_key():
        raise ConfigError("There is no API key for W&B; allowed is the environment's WANDB_API_KEY or `wandb login`.")
    config: Any = OmegaConf.to_container(OmegaConf.load(attempt.config_file))
    about, logger = config["run"], (config["logger"] or {}).get("wandb", {})
    now, mirror = state(attempt), read_json(attempt.path / "wandb" / "mirror.json")
    with tempfile.TemporaryDirectory(prefix="steepest-sync-") as place:
        try:
            run = WandbRun(
                "online",
                START_S,
                FINISH_S,
                quiet=True,
                dir=place,
                project=project or mirror.get("project") or logger.get("project", "steepest"),
                entity=entity or mirror.get("entity") or logger.get("entity"),
                id=mirror.get("id") or f"{about['id']}-{about['attempt']}",  # of a sweep: its agent's
                name=about["name"],
                group=about["group"],
                tags=about["tags"],
                job_type=job_type(config),
                config={**config, **entries(config)},
            )
            for row in attempt.rows():
                run.log(row)
            run.log_pictures(sorted((attempt.path / "pictures").glob("*")))
            run.finish(now["status"], {**attempt.summary, **origin(attempt.status)})
        except (ConnectionError, TimeoutError) as error:
            raise ConfigError(f"{attempt.path} is not uploaded: {str(error).rstrip('.')}.") from None
    record(attempt.path, id=run.run.id, url=run.run.url, arrived=now)
    return str(run.run.url)
