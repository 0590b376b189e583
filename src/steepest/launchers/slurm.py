"""Runs as jobs of SLURM: what each asks for, which form an array, their submission, and the record of it.

This module imports no torch.
"""

import contextlib
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steepest.errors import ConfigError, shown
from steepest.launchers import slurm_queue
from steepest.launchers.slurm_job import WARNING, SlurmRun

RECORD = "slurm.jsonl"
"""In a sweep's folder: a line for each job, when it is submitted."""

MARK = "steepest:"
"""Begins the folder of its sweep in a job's comment."""

OWN = ("_target_", "accelerator", "gpu_type", "cpus_per_device", "verbose", "submitit_folder", "max_num_timeout")
"""Keys of `hydra.launcher` that are not handed to submitit as they are."""

GENERAL = ("timeout_min", "cpus_per_task", "gpus_per_node", "tasks_per_node", "mem_gb", "nodes", "name")
"""Keys that submitit knows by these names; it wants `slurm_` before all others."""

OF_A_NODE = ("nodes", "gpus_per_node", "cpus_per_task", "mem_gb", "mem_per_cpu", "mem_per_gpu", "timeout_min")

SHOWN = ("partition", "account", "qos", "constraint", "gres", *OF_A_NODE)
"""What is told when SLURM refuses a job."""


@dataclass(frozen=True)
class Submission:
    """A run that is to be submitted.

    Args:
        number: of the job in its sweep.
        run_id: of the run.
        call: what the job does.
        asks: what it asks of SLURM, as submitit takes it.
    """

    number: int
    run_id: str
    call: SlurmRun
    asks: Mapping[str, Any]


@dataclass(frozen=True)
class Submitted:
    """A job that was submitted.

    Args:
        number: of the job in its sweep.
        run_id: of the run.
        job_id: SLURM's, as `17`, or `17_3` of an array.
        log: the file of what the run prints.
        output: the file of what the job prints beside.
        result: the file that the job writes at its end.
        limit_min: its time limit, in minutes.
    """

    number: int
    run_id: str
    job_id: str
    log: str
    output: str
    result: str
    limit_min: int


def asks(settings: Mapping[str, Any], trainer: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a job asks of SLURM: one task on each node, with the GPUs and the cores of its devices.

    Args:
        settings: `hydra.launcher`.
        trainer: of the run; its `devices` are those of a node.
        folder: of the sweep.
    """
    devices = trainer["devices"]
    given = {key: value for key, value in settings.items() if key not in OWN and value is not None}
    given.setdefault("cpus_per_task", devices * settings["cpus_per_device"])
    if trainer["accelerator"] == "gpu" and not {"gpus_per_node", "gpus_per_task", "gres"} & {*given}:
        if kind := settings["gpu_type"]:
            given["gres"] = f"gpu:{kind}:{devices}"
        else:
            given["gpus_per_node"] = devices
    given["comment"] = " ".join(filter(None, [given.get("comment"), f"{MARK}{folder.absolute()}"]))
    given["additional_parameters"] = {"requeue": True, **given.get("additional_parameters", {})}
    given["srun_args"] = ["--kill-on-bad-exit=1"]  # a node that fails ends the others, which wait for it
    return {key if key in GENERAL else f"slurm_{key}": value for key, value in given.items()}


def exports(code: Path) -> list[str]:
    """Lines of a job's script, after those of the user.

    Args:
        code: what is to be first on PYTHONPATH.
    """
    return [
        f"export PYTHONPATH={_quoted(code)}${{PYTHONPATH:+:$PYTHONPATH}}",
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",  # srun does not take it from sbatch, since SLURM 22.05
        # A warning ends the job when it comes before SlurmRun listens to it.
        f"trap '[ $? -ne {128 + WARNING} ] || scontrol requeue \"$SLURM_JOB_ID\"' EXIT",
    ]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"


def submit(wanted: Sequence[Submission], folder: Path, place: Path, retries: int) -> Iterator[Submitted]:
    """Submit runs, those that ask for the same in arrays; each is in the sweep's record before it is yielded.

    Args:
        wanted: the runs.
        folder: of the sweep.
        place: where submitit puts its files.
        retries: how often a job goes back into the queue at its time limit.

    Raises:
        ConfigError: SLURM refuses; what was submitted before is taken back.
    """
    taken: list[str] = []
    for part in arrays(wanted, slurm_queue.array_size()):
        try:
            jobs = _submitted(part, place, retries)
        except RuntimeError as error:
            with contextlib.suppress(slurm_queue.NoAnswer):
                slurm_queue.cancel(taken)
            raise ConfigError(refusal(str(error), part[0].asks)) from None
        taken.append(jobs[0].job_id.partition("_")[0])
        note(folder, jobs)
        yield from jobs


def arrays(wanted: Iterable[Submission], size: int) -> list[list[Submission]]:
    """The runs by what they ask for, at most `size` of them together."""
    groups: dict[str, list[Submission]] = defaultdict(list)
    for one in wanted:
        groups[json.dumps(one.asks, sort_keys=True)].append(one)
    return [group[begin : begin + size] for group in groups.values() for begin in range(0, len(group), size)]


def _submitted(part: Sequence[Submission], place: Path, retries: int) -> list[Submitted]:
    import submitit

    executor = submitit.AutoExecutor(folder=place, cluster="slurm", slurm_max_num_timeout=retries)
    executor.update_parameters(**part[0].asks)
    with _as_outside(), contextlib.redirect_stderr(io.StringIO()):  # it prints what it raises
        jobs = executor.submit_array([one.call for one in part])
    limit = part[0].asks["timeout_min"]
    found = []
    for one, job in zip(part, jobs, strict=True):
        paths = submitit.core.utils.JobPaths(place, job.job_id)
        log, result = one.call.job.log, paths.result_pickle
        found.append(Submitted(one.number, one.run_id, job.job_id, str(log), str(paths.stdout), str(result), limit))
    return found


@contextlib.contextmanager
def _as_outside() -> Iterator[None]:
    """Submit from inside a job as from outside of it: its variables would be taken for those of the new one."""
    if "SLURM_JOB_ID" not in os.environ:
        yield
        return
    from submitit.helpers import clean_env

    cluster = {key: os.environ[key] for key in ("SLURM_CONF",) if key in os.environ}
    with clean_env():
        os.environ.update(cluster)
        yield


def refusal(said: str, asked: Mapping[str, Any]) -> str:
    """What is wrong when sbatch refuses."""
    lines = [line.removeprefix("sbatch: ").removeprefix("error: ").strip().rstrip(".") for line in said.splitlines()]
    values = {key.removeprefix("slurm_"): value for key, value in asked.items()}
    what = ", ".join(f"{key}={shown(values[key])}" for key in SHOWN if key in values)
    why = "; ".join(dict.fromkeys(filter(None, lines))) or "it does not say why"
    return f"hydra/launcher=slurm: SLURM refuses jobs with {what}: {why}; allowed is what sinfo and your site list."


def note(folder: Path, jobs: Sequence[Submitted]) -> None:
    """Add jobs to the record of a sweep."""
    with (folder / RECORD).open("a") as file:
        file.writelines(json.dumps(asdict(job)) + "\n" for job in jobs)
        file.flush()
        os.fsync(file.fileno())


def noted(folder: Path) -> list[Submitted]:
    """The jobs in the record of a sweep; a last line that was cut off in the middle is left out."""
    file = folder / RECORD
    lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
    return [Submitted(**json.loads(line)) for line in lines if line.endswith("\n")]


def under_way() -> dict[str, Submitted]:
    """The jobs of runs that wait or run, of any sweep of the user, by the run's id.

    Raises:
        ConfigError: SLURM does not answer.
    """
    try:
        queued = slurm_queue.queue()
    except slurm_queue.NoAnswer as error:
        raise ConfigError(f"hydra/launcher=slurm: SLURM does not answer ({error}); see sinfo.") from None
    folders = {comment.partition(MARK)[2] for job in queued.values() if MARK in (comment := job.comment)}
    jobs = [job for folder in sorted(folders) for job in noted(Path(folder))]
    return {job.run_id: job for job in jobs if job.job_id in queued}


def described(jobs: Sequence[Submitted], submitted: int) -> str:
    """What waits, in a line."""
    there = f"; {len(jobs) - submitted} were submitted before" * (submitted < len(jobs))
    return f"{submitted} submitted to SLURM{there}: {', '.join(_arrays(jobs))}"


def farewell(jobs: Sequence[Submitted], folder: Path) -> str:
    """What becomes of jobs that nobody waits for any more."""
    return (
        f"\nThe jobs go on. How they are: python scripts/status.py {folder}; the same command again collects them.\n"
        f"To end them: scancel {' '.join(_arrays(jobs))}"
    )


def _arrays(jobs: Sequence[Submitted]) -> list[str]:
    return sorted({job.job_id.partition("_")[0] for job in jobs}, key=int)
