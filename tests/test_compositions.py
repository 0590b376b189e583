"""Every value of every group, together with every value of every other group: two steps each.

Models and data sets are those of image classification here; test_domains.py has the others.
"""

import itertools
import math
import random
from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from steepest.config import compose, conf_dir
from steepest.datasets.images import ImageData
from steepest.launchers.machine import settle
from steepest.runs.folder import RunFolder
from steepest.signature import signature
from steepest.train import train

NEEDS_GPU = {"tf32", "fp16_mixed"}
FILES = {"mnist", "fashion_mnist", "cifar10", "cifar100", "mnist_hf", "fashion_mnist_hf", "cifar10_hf", "cifar100_hf"}
FILES |= {"image_folder"}
"""Data sets that do not come with a package."""


def names(group, without=()):
    return sorted({path.stem for path in (conf_dir() / group).glob("*.yaml")} - set(without))


def classes(group):
    return {name: get_class(OmegaConf.load(conf_dir() / group / f"{name}.yaml")._target_) for name in names(group)}


CLASSIFIERS = sorted(
    name for name, kind in classes("model").items() if {"input_shape", "num_classes"} <= set(signature(kind).needed)
)
IMAGES = sorted(name for name, kind in classes("dataset").items() if issubclass(kind, ImageData) and name not in FILES)


# An optimizer or two of every reach: each of the others trains in test_training_optimizers.py.
OPTIMIZERS = ["sgd", "sgd_momentum", "nesterov", "adamw", "schedule_free_adamw", "lamb", "prodigy", "muon", "kfac"]
OPTIMIZERS += ["lbfgs", "natural_gradient", "library"]
GROUPS = {
    "model": CLASSIFIERS,
    "schedule": names("schedule"),
    "optimizer": OPTIMIZERS,
    "routing": names("routing", {"matrices"}),
    "precision": names("precision", NEEDS_GPU),
    "dataset": IMAGES,
    "batch": names("batch"),
    "logger": ["wandb", "none", "[csv,tensorboard]"],
    "callbacks": names("callbacks"),
}
# Some 40 training images, so that a full batch is small, and networks that are narrow.
SMALL = {
    "digits": ["dataset.validation_fraction=0.97"],
    "noise": ["dataset.num_examples=40", "dataset.shape=[3,8,8]"],
    "large": ["batch.size=16", "batch.micro_size=8"],
    "mini": ["batch.size=16"],
    "full": ["batch.micro_size=20"],
    "vgg": ["model.depth=11", "model.width=8"],
}


def fits(values):
    """Whether values of some or all groups can meet.

    Batch normalisation needs two values of a channel, which one example on 1 x 1 pixels is not; optimizers that
    evaluate the loss take no micro-batches; one_cycle moves a momentum, which they and plain sgd have not.
    """
    if values.get("model") in ("resnet18", "resnet50", "resnet9", "vgg") and values.get("batch") == "single":
        return False
    closure = values.get("optimizer") in ("lbfgs", "natural_gradient")
    if closure and values.get("batch") in ("full", "large"):
        return False
    return values.get("schedule") != "one_cycle" or not (closure or values.get("optimizer") == "sgd")


def pairwise(groups, seed=0):
    """Few combinations in which every two values of two groups meet: the best of 30 random ones, again and again."""
    draw = random.Random(seed)
    pairs = {
        ((a, x), (b, y)) for a, b in itertools.combinations(sorted(groups), 2) for x in groups[a] for y in groups[b]
    }
    missing = {pair for pair in pairs if fits(dict(pair))}

    def met(combination):
        return missing & set(itertools.combinations(sorted(combination.items()), 2))

    while missing:
        (a, x), (b, y) = min(missing)
        random_ones = ({**{g: draw.choice(v) for g, v in groups.items()}, a: x, b: y} for _ in itertools.count())
        best = max(itertools.islice(filter(fits, random_ones), 30), key=lambda combination: len(met(combination)))
        missing -= met(best)
        yield best


COMBINATIONS = list(pairwise(GROUPS))


@pytest.mark.parametrize("combination", COMBINATIONS, ids=lambda c: "-".join(c.values()))
def test_two_steps_of_every_pair(combination):
    words = [f"{group}={value}" for group, value in combination.items()]
    words += [word for value in combination.values() for word in SMALL.get(value, [])]
    cfg = compose([*words, "budget={steps:2,epochs:null}", "threads=1", "validation.every=2"])
    settle(cfg)
    value = train(cfg)
    [path] = Path("runs").iterdir()
    folder = RunFolder(path)
    assert folder.status["status"] == "finished"
    assert folder.summary["opt_steps"] == 2
    assert all(math.isfinite(number) for number in folder.summary["metrics"].values())
    assert 0 <= value <= 1


@pytest.mark.parametrize("model", GROUPS["model"])
@pytest.mark.parametrize("dataset", ["fashion_mnist", "cifar10_hf"])
def test_every_model_takes_every_real_dataset(model, dataset, data_dir, tmp_path_factory, monkeypatch):
    # One cache for all, since decoding 60,000 JPEG files takes seconds.
    monkeypatch.setenv("STEEPEST_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "decoded"))
    words = [f"dataset={dataset}", f"model={model}", "batch.size=4", "budget={steps:1,epochs:null}", "threads=1"]
    words += ["dataset.validation_fraction=0.001", "logger=none", *SMALL.get(model, [])]
    if dataset == "cifar10_hf":
        words.append(f"dataset.path={data_dir / 'cifar10'}")
    cfg = compose(words)
    settle(cfg)
    from steepest.assemble import assemble

    parts = assemble(cfg)
    x, y = next(iter(parts.data.train_dataloader()))
    parts.task.model.train()
    loss = parts.task.loss((x, y))
    loss.backward()
    assert x.shape == (4, *parts.data.input_shape)
    assert math.isfinite(loss.item())
    assert all(p.grad is not None for p in parts.task.model.parameters())
