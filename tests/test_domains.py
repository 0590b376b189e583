"""Every optimizer in every domain, two steps each: it trains, or says in a sentence why it cannot."""

import json
import math
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.runs.folder import RunFolder
from steepest.train import train

# Each domain's experiment on its embedded data, with less of everything.
DOMAINS = {
    "vision_cnn": ["dataset.validation_fraction=0.9", "batch.size=16", "model.width=4"],
    "nlp_transformer": ["batch.size=16", "model.dim=16", "model.depth=1"],
    "llm": ["batch.size=4", "batch.micro_size=null", "model.dim=16", "model.depth=1"],
    "gan": ["dataset.validation_fraction=0.2", "batch.size=16", "model.width=4"],
    "rl": ["task.num_steps=8", "batch.size=16", "dataset.val_episodes=2", "dataset.test_episodes=2"],
    "rl_dqn": ["task.learning_starts=40", "batch.size=16", "dataset.val_episodes=2", "dataset.test_episodes=2"],
    "sparse_embeddings": ["batch.size=64", "model.dim=8"],
    "objective": [],
}
TWO_STEPS = ["budget={steps: 2, epochs: null, examples: null, seconds: null}", "validation.every=2", "log.every=1"]
QUICK = ["threads=1", "logger=none", "callbacks=none"]
OPTIMIZERS = sorted(path.stem for path in (conf_dir() / "optimizer").glob("*.yaml"))
WITHOUT_PROBABILITIES = {"gan", "rl_dqn", "sparse_embeddings", "objective"}
SPARSE = {"sparse_embeddings"}
CLIPPED = {"nlp_transformer", "llm", "rl"}
"""Where clip.norm=null is for optimizers that evaluate the loss, as they say themselves."""


def reach_of(optimizer):
    kind = OmegaConf.load(conf_dir() / "optimizer" / f"{optimizer}.yaml")._target_
    return "element" if optimizer in ("torch", "library") else get_class(kind).reach


def refusal(domain, optimizer):
    """What is said of a pair that is not possible; None: it trains."""
    if domain in SPARSE and (reach_of(optimizer) != "element" or optimizer in ("torch", "library")):
        return "cannot take the sparse gradients"  # torch and library are NAdam and AdamP here
    if domain in WITHOUT_PROBABILITIES and optimizer == "natural_gradient":
        return "needs a model that gives probabilities"
    return None


def check(domain, optimizer, *words):
    cfg = compose([f"experiment={domain}", f"optimizer={optimizer}", *DOMAINS[domain], *TWO_STEPS, *QUICK, *words])
    if reach_of(optimizer) == "closure" and domain in CLIPPED:
        cfg.clip.norm = None
    settle(cfg)
    if said := refusal(domain, optimizer):
        with pytest.raises(ConfigError, match=said):
            train(cfg)
        assert not Path("runs").exists()
        return
    value = train(cfg)
    [path] = Path("runs").iterdir()
    folder = RunFolder(path)
    assert folder.status["status"] == "finished"
    assert folder.summary["opt_steps"] == 2
    assert math.isfinite(value)
    rows = [json.loads(line) for line in folder.metrics_file.read_text().splitlines()]
    assert {"opt_step", "examples", "grad_evals", "wall_s"} <= rows[-1].keys()
    assert folder.summary["headline"]["direction"] in ("min", "max")
    assert folder.summary["grad_evals"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_every_optimizer_in_every_domain(domain, optimizer):
    check(domain, optimizer)


@pytest.mark.parametrize(
    ("domain", "optimizer"),
    # Every optimizer once and every domain four times and more; the slow test has all pairs.
    [(list(DOMAINS)[number % len(DOMAINS)], optimizer) for number, optimizer in enumerate(OPTIMIZERS)],
)
def test_an_optimizer_in_a_domain(domain, optimizer):
    check(domain, optimizer)


@pytest.mark.parametrize("domain", sorted(CLIPPED))
def test_what_stands_in_the_way_of_an_optimizer_is_said(domain):
    cfg = compose([f"experiment={domain}", "optimizer=lbfgs", *DOMAINS[domain], *TWO_STEPS, *QUICK])
    settle(cfg)
    with pytest.raises(ConfigError, match=r"not possible with clip.norm=.+; allowed is null"):
        train(cfg)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_with_all_that_a_run_has(domain):
    cfg = compose([f"experiment={domain}", *DOMAINS[domain], *TWO_STEPS, "threads=1"])
    settle(cfg)
    train(cfg)
    [path] = Path("runs").iterdir()
    summary = RunFolder(path).summary
    assert summary["remarks"] == [] or all("batch.size" in remark for remark in summary["remarks"])
    assert (path / "pictures" / "curves.png").stat().st_size > 1000
    assert summary["verdict"]["word"]
