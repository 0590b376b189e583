"""The README's figures on real data sets, reached again by its own commands: `make goals`, minutes each."""

import json
import operator
import os
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import trim_mean

from steepest.config import conf_dir

ROOT = conf_dir().parent
SEEDS = range(5)

# Command as in the README, metric, how it compares, the figure, and the seconds of training that it may take.
GOALS = [
    ("experiment=fashion_mnist_resnet", "test/accuracy", operator.ge, 0.92, 600),
    ("experiment=cifar10_resnet", "test/accuracy", operator.ge, 0.87, 900),
    ("experiment=sst2_transformer", "test/accuracy", operator.ge, 0.80, None),
    ("experiment=shakespeare_gpt", "val/loss", operator.le, 1.88, None),
    ("experiment=movielens_mf", "test/rmse", operator.le, 0.88, None),
]
RETURNS = [("experiment=rl", 475), ("experiment=rl dataset=acrobot", -90)]


def summaries():
    return [json.loads(file.read_text()) for file in sorted(Path("runs").glob("r*/summary.json"))]


def run(words, data_dir):
    """Run `python train.py` with these words, and where its data set's files lie."""
    path = {"experiment=cifar10_resnet": [f"dataset.path={data_dir / 'cifar10'}"]}.get(words, [])
    environment = {**os.environ, "STEEPEST_DATA_DIR": str(data_dir), "OMP_NUM_THREADS": ""}
    environment.pop("OMP_NUM_THREADS")
    command = [sys.executable, str(ROOT / "train.py"), *words.split(), *path, "logger=none"]
    subprocess.run(command, check=True, env=environment)


@pytest.mark.goal
@pytest.mark.parametrize(("words", "metric", "compares", "figure", "seconds"), GOALS, ids=lambda value: str(value))
def test_a_figure_of_the_readme(words, metric, compares, figure, seconds, data_dir):
    run(words, data_dir)
    [summary] = summaries()
    assert compares(summary["metrics"][metric], figure)
    assert seconds is None or summary["wall_s"] <= seconds


@pytest.mark.goal
@pytest.mark.parametrize(("words", "figure"), RETURNS)
def test_the_interquartile_mean_of_five_seeds(words, figure, data_dir):
    for seed in SEEDS:
        run(f"{words} seed={seed}", data_dir)
    found = [summary["metrics"]["test/return"] for summary in summaries()]
    assert len(found) == len(SEEDS)
    assert trim_mean(found, 0.25) >= figure


def test_the_readme_has_these_commands():
    text = (ROOT / "README.md").read_text()
    for words, *_ in [*GOALS, *RETURNS]:
        assert f"train.py {words}" in text, words
