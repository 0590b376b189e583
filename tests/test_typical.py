import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from steepest.build import target
from steepest.completion import names
from steepest.config import compose, conf_dir, resolved
from steepest.typical import KINDS, remarks

CONF = conf_dir()


def said(*overrides):
    return remarks(resolved(compose(list(overrides))))


def test_the_default_run_triggers_nothing():
    assert said() == []


@pytest.mark.parametrize("experiment", names(CONF, "experiment"))
def test_recommended_experiments_trigger_nothing(experiment):
    assert said(f"experiment={experiment}") == []


@pytest.mark.parametrize("tuned", [name for name in names(CONF, "tuned") if name != "none"])
def test_tuned_values_trigger_nothing(tuned):
    experiment, _, optimizer = tuned.rpartition("-")
    assert said(f"experiment={experiment}", f"optimizer={optimizer}", "tuned=true") == []


@pytest.mark.parametrize("group", ["optimizer", "schedule", "model", "task"])
def test_the_defaults_of_every_value_of_a_group_trigger_nothing(group):
    for name in names(CONF, group):
        assert said(f"{group}={name}") == [], name


@pytest.mark.parametrize(
    ("overrides", "remark"),
    [
        (["optimizer.lr=0.5"], "optimizer.lr=0.5 lies outside 0.01 to 0.1, usual for SGD."),
        (["optimizer=nesterov", "optimizer.lr=0.001"], "optimizer.lr=0.001 lies outside 0.01 to 0.1, usual for SGD."),
        (
            ["optimizer=adamw", "optimizer.lr=0.03"],
            "optimizer.lr=0.03 lies outside 0.0001 to 0.0003, usual for Adam and AdamW.",
        ),
        (["optimizer.momentum=0.5"], "optimizer.momentum=0.5 lies outside 0.9 to 0.99, usual for SGD."),
        (
            ["optimizer=adam", "optimizer.betas=[0.5,0.999]"],
            "optimizer.betas[0]=0.5 differs from 0.9, usual for Adam and AdamW.",
        ),
        (
            ["optimizer=adam", "optimizer.betas=[0.9,0.9]"],
            "optimizer.betas[1]=0.9 lies outside 0.95 to 0.999, usual for Adam and AdamW.",
        ),
        (
            ["optimizer=adamw", "optimizer.weight_decay=0.5"],
            "optimizer.weight_decay=0.5 lies outside 0.01 to 0.1, usual for weight decay (it depends on the task).",
        ),
        (
            ["schedule=warmup_cosine", "schedule.warmup=0.4"],
            "schedule.warmup=0.4 lies outside 0.01 to 0.05, usual for the warm-up's share of a run.",
        ),
        (
            ["schedule=wsd", "schedule.warmup=500", "budget.steps=1000"],
            "schedule.warmup=500 (0.5 of budget.steps) lies outside 0.01 to 0.05, usual for the warm-up",
        ),
        (
            ["schedule=wsd", "schedule.warmup='3 epochs'"],
            "schedule.warmup=3 epochs (0.1 of budget.epochs) lies outside 0.01 to 0.05, "
            "usual for the warm-up's share of a run.",
        ),
        (["model=vit", "clip.norm=5"], "clip.norm=5 differs from 1, usual for transformers."),
        (["model=vit", "batch.size=64"], "batch.size=64 lies outside 256 to 2048, usual for transformers."),
        (["batch=large"], "batch.size=1024 lies outside 64 to 256, usual for computer vision (CNNs)."),
        (["batch=single"], "batch.size=1 lies outside 64 to 256, usual for computer vision (CNNs)."),
        (
            ["experiment=digits_vit", "optimizer.lr=1.0"],
            "optimizer.lr=1.0 lies outside 0.0001 to 0.0003, usual for Adam",
        ),
    ],
)
def test_what_is_set_outside_its_range_gets_one_line(overrides, remark):
    [line] = said(*overrides)
    assert line.startswith(remark)


@pytest.mark.parametrize(
    "overrides",
    [
        ["optimizer.lr=0.01"],
        ["optimizer.lr=0.1"],
        ["optimizer=adam", "optimizer.lr=2e-4"],
        ["optimizer=adam", "optimizer.lr=1e-3"],  # typed, but the default
        ["optimizer.weight_decay=0"],
        ["optimizer=adamw", "optimizer.weight_decay=1e-5", "optimizer.weight_decay_form=decoupled"],
        ["schedule=warmup_cosine", "schedule.warmup=0"],
        ["schedule=warmup_cosine", "schedule.warmup=0.0"],
        ["schedule=one_cycle", "schedule.warmup=0.5"],  # a cycle's ramp is no warm-up
        ["schedule=wsd", "schedule.warmup=500"],  # of how many steps is not known
        ["schedule=wsd", "schedule.warmup=20", "budget.steps=1000"],
        ["clip.norm=5"],  # no range for CNNs
        ["model=vit", "clip.norm=1"],
        ["model=mlp", "batch.size=1"],  # no range for MLPs
        ["batch=full"],
        ["batch.size=256"],
    ],
)
def test_what_is_usual_or_has_no_range_gets_none(overrides):
    assert said(*overrides) == []


def test_several_remarks_come_together():
    lines = said("optimizer.lr=3.0", "optimizer.momentum=0.1", "batch.size=8")
    assert [line.partition("=")[0] for line in lines] == ["optimizer.lr", "optimizer.momentum", "batch.size"]


def test_a_class_of_another_library_is_known_by_its_name():
    config = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 7.0}}
    assert remarks(config) == ["optimizer.lr=7.0 lies outside 0.01 to 0.1, usual for SGD."]
    config = {"optimizer": {"_target_": "steepest.library.make", "name": "pytorch_optimizer.Lion", "lr": 0.1}}
    assert remarks(config) == ["optimizer.lr=0.1 lies outside 1e-05 to 3e-05, usual for Lion."]


def test_a_choice_that_cannot_be_composed_here_is_judged_by_the_ranges_alone():
    config = resolved(compose(["optimizer=adam"]))
    config["choices"]["optimizer"] = "of_another_folder"
    assert remarks(config) == ["optimizer.lr=0.001 lies outside 0.0001 to 0.0003, usual for Adam and AdamW."]


@pytest.mark.parametrize("config", [{}, {"optimizer": None}, {"choices": None, "batch": {"size": "many"}}])
def test_a_configuration_without_these_keys_has_no_remarks(config):
    assert remarks(config) == []


@settings(max_examples=200, deadline=None)
@given(lr=st.floats(1e-9, 1e3), momentum=st.floats(0, 1), size=st.integers(1, 10**6))
def test_a_remark_is_made_exactly_outside(lr, momentum, size):
    optimizer = {"_target_": "steepest.optimizers.sgd_momentum.SGDMomentum", "lr": lr, "momentum": momentum}
    config = {"optimizer": optimizer, "model": {"_target_": "steepest.models.vit.ViT"}, "batch": {"size": size}}
    keys = {line.partition("=")[0] for line in remarks(config)}
    expected = {"optimizer.lr": lr < 0.01 or lr > 0.1, "optimizer.momentum": momentum < 0.9 or momentum > 0.99}
    assert keys == {key for key, out in {**expected, "batch.size": size < 256 or size > 2048}.items() if out}


def test_the_classes_that_the_table_names_exist():
    ours = {
        target(OmegaConf.load(file)).__name__
        for group in ("optimizer", "schedule", "model", "task")
        for file in (CONF / group).glob("*.yaml")
    }
    assert set(KINDS) <= ours


def test_it_can_be_asked_inside_a_run():
    Path("job.py").write_text(
        "import hydra\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "from steepest.config import conf_dir, resolved, with_choices\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "from steepest.typical import remarks\n"
        "def job(cfg):\n"
        "    choices = HydraConfig.get().runtime.choices\n"
        "    print(remarks(resolved(with_choices(cfg, choices))), GlobalHydra.instance().is_initialized())\n"
        "hydra.main(version_base='1.3', config_path=str(conf_dir()), config_name='config')(job)()\n"
    )
    of_hydra = ["hydra/sweeper=basic", "hydra/launcher=basic"]
    command = [sys.executable, "job.py", "-m", *of_hydra, "optimizer.lr=0.05,0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    remark = "'optimizer.lr=0.5 lies outside 0.01 to 0.1, usual for SGD.'"
    assert done.stdout.splitlines() == ["[] True", f"[{remark}] True"]
