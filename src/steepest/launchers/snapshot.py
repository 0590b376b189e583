"""The code that runs is the code that was submitted: a copy of this package beside a sweep's jobs.

The rest of the environment (Python, torch and other libraries) is not copied. This module imports no torch.
"""

import hashlib
import os
import shutil
from importlib.util import find_spec
from itertools import count
from pathlib import Path

from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.runs.commit import COMMIT, DIFF, git

PACKAGE = Path(__file__).parents[1]

PLUGINS = "hydra_plugins"


def snapshot(folder: Path) -> Path:
    """Copy this package into `code` of a folder, or into `code-2`, ... where that is of other code.

    Beside it lie `commit.txt`, and `dirty.diff` with what is not committed, where the code is a checkout of git.

    Returns:
        What is to be first on PYTHONPATH.

    Raises:
        ConfigError: the folder cannot be written.
    """
    sources = _sources()
    digest = _digest(sources)
    try:
        for number in count(1):
            place = folder / ("code" if number == 1 else f"code-{number}")
            if not place.exists():
                _write(sources, place)
            if _digest({name: place / name for name in sources}) == digest:
                return place.absolute()
    except OSError as error:
        raise ConfigError(
            f"hydra.sweep.dir: {folder} cannot be written ({error.strerror}); allowed is a folder that the nodes share."
        ) from None
    raise AssertionError


def _sources() -> dict[str, Path]:
    """The files of this package and its plugins for Hydra, by their place in an installed copy."""
    plugin = find_spec(f"{PLUGINS}.steepest_slurm")
    assert plugin is not None
    assert plugin.origin is not None
    plugins = Path(plugin.origin).parent.glob("steepest_*.py")
    found = {f"{PLUGINS}/{file.name}": file for file in plugins}
    for root, name in ((PACKAGE, "steepest"), (conf_dir(), "steepest/conf")):
        for parent, folders, files in os.walk(root):
            folders[:] = [folder for folder in folders if folder not in ("__pycache__", "experiments")]
            for file in map(Path(parent).joinpath, files):
                found[f"{name}/{file.relative_to(root)}"] = file
    return dict(sorted(found.items()))


def _digest(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, file in files.items():
        content = file.read_bytes() if file.is_file() else b"missing"
        digest.update(f"{name} {len(content)} ".encode() + content)
    return digest.hexdigest()


def _write(sources: dict[str, Path], place: Path) -> None:
    """Copy the files to a place that is then there whole."""
    half = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    shutil.rmtree(half, ignore_errors=True)
    for name, file in sources.items():
        target = half / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    checkout = conf_dir().parent
    if (checkout / ".git").exists() and (commit := git(checkout, "rev-parse", "HEAD")):
        (half / COMMIT).write_bytes(commit)
        untracked = git(checkout, "ls-files", "--others", "--exclude-standard") or b""
        names = b"".join(b"# untracked: %s\n" % name for name in untracked.splitlines())
        if dirty := names + (git(checkout, "diff", "HEAD", "--binary") or b""):
            (half / DIFF).write_bytes(dirty)
    half.rename(place)
