"""`steepest doctor`: what this machine has, and what to do about what is missing."""

from collections.abc import Callable, Iterator

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table
from rich.text import Text

from steepest.checkup import hardware, software, surroundings
from steepest.checkup.finding import Finding, brief
from steepest.config import compose

USAGE = """usage: steepest doctor [key=value] ...

Says what this machine has, and what to do about what is missing. The exit code is 0 when all that is needed works, else
1. paths.runs_dir, paths.data_dir and paths.cache_dir are the folders that are looked at."""

Check = Callable[[DictConfig], Iterator[Finding]]


def main(arguments: list[str]) -> int:
    """Print a table of what was found; returns the exit code (1: something that is needed is broken).

    Raises:
        ConfigError: a key or a value on the command line is wrong.
    """
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    cfg = compose(arguments)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    table = Table("", "check", box=None, padding=(0, 2, 0, 0))
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    broken: dict[str, None] = {}
    with console.status("looking ..."):
        for name, check in CHECKS.items():
            for finding in findings(check, cfg):
                state = "BROKEN" if finding.broken else "-" if finding.remedy else "ok"
                table.add_row(state, Text(name), Text(finding.found), Text(finding.remedy))
                broken |= {name: None} if finding.broken else {}
    console.print(table)
    print(f"\nTo be mended: {', '.join(broken)}." if broken else "\nAll that is needed works.")
    return 1 if broken else 0


def findings(check: Check, cfg: DictConfig) -> list[Finding]:
    """What a check finds; that it breaks is a finding, too."""
    try:
        return list(check(cfg))
    except Exception as error:
        return [Finding(f"this check itself failed: {brief(error)}", "Please report it.", broken=True)]


CHECKS: dict[str, Check] = {
    "Python": software.check_python,
    "steepest": software.check_steepest,
    "packages": software.check_packages,
    "torch": software.check_torch,
    "torchvision": software.check_torchvision,
    "Lightning": software.check_lightning,
    "GPU": hardware.check_gpus,
    "TPU": hardware.check_tpu,
    "CPU": hardware.check_cpu,
    "memory": hardware.check_memory,
    "C++ compiler": software.check_compiler,
    "W&B": surroundings.check_wandb,
    "folders": surroundings.check_folders,
    "data sets": surroundings.check_data,
    "SLURM": surroundings.check_slurm,
}
