"""Search spaces as W&B sweeps: what the agent's command line brings into the configuration, and broken orders."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from fake_wandb import KEY, serving
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.mistakes import check_words
from steepest.search import Dimension, search_space
from steepest.wandb_sweep import DEFAULTS, METHODS, headline, main, parameter, sweep

ROOT = Path(__file__).parents[1]
SPACES = {}
for file in sorted((conf_dir() / "optimizer").glob("*.yaml")):
    if file.stem not in ("torch", "library"):  # of libraries' classes, which have no space
        SPACES[file.stem] = search_space(file.stem)
BETA = Dimension("betas[1]", "x", low=0.9, high=0.9999, scale="log_one_minus")


def written(folder, *words):
    main([*words, "--out", str(folder)])
    return {file.stem.removeprefix("sweep-"): yaml.safe_load(file.read_text()) for file in folder.glob("*.yaml")}


def drawn(content, first):
    """What W&B may draw: the first or the last value of each parameter."""
    ends = {key: node.get("values") or [node["min"], node["max"]] for key, node in content["parameters"].items()}
    return {key: values[0 if first else -1] for key, values in ends.items()}


def agents_words(content, values):
    """The words after the program on the command line that W&B's agent makes."""
    args = create_sweep_command_args({"args": {key: {"value": value} for key, value in values.items()}})
    found = []
    for part in create_sweep_command([*content["command"]]):
        macro = part.startswith("${") and part.endswith("}")
        found += args.get(part[2:-1], []) if macro else [part]
    return found


@pytest.mark.parametrize("name", SPACES)
def test_every_space_arrives_in_the_configuration(name):
    content = yaml.safe_load(yaml.safe_dump(sweep(name, [], DEFAULTS)))
    keys = {dimension.key for dimension in SPACES[name].dimensions}
    assert {*content["parameters"]} == {f"optimizer.{key.replace('[', '.').replace(']', '')}" for key in keys}
    for first in (True, False):
        values = drawn(content, first)
        words = agents_words(content, values)
        check_words(words)
        cfg = compose(words)
        assert cfg.choices.optimizer == name
        assert cfg.force is True
        for key, value in values.items():
            assert OmegaConf.select(cfg, key) == value
            assert type(OmegaConf.select(cfg, key)) is type(value)


def test_a_file_of_each_optimizer_with_its_own_parameters(tmp_path, capsys):
    found = written(tmp_path, "optimizer=adamw,sgd_momentum", "experiment=vision_cnn", "seed=3")
    assert {*found} == {"adamw", "sgd_momentum"}
    assert "optimizer.momentum" in found["sgd_momentum"]["parameters"]
    assert "optimizer.momentum" not in found["adamw"]["parameters"]
    assert {"optimizer.betas.0", "optimizer.betas.1", "optimizer.eps"} <= {*found["adamw"]["parameters"]}
    for name, content in found.items():
        assert content["program"] == "train.py"
        assert content["command"][:4] == ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
        assert content["command"][4:] == [f"optimizer={name}", "experiment=vision_cnn", "seed=3", "force=true"]
        assert content["metric"] == {"name": "val/accuracy", "goal": "maximize", "impute": "worst"}
        assert (content["method"], content["run_cap"], content["name"]) == ("bayes", 32, f"vision_cnn-{name}")
        assert "early_terminate" not in content
    assert f"{tmp_path}/sweep-adamw.yaml: 5 hyperparameters" in capsys.readouterr().out


def test_scales():
    assert parameter(Dimension("lr", "x", low=1e-5, high=1e-2, scale="log"), "random") == {
        "distribution": "log_uniform_values",
        "min": 1e-5,
        "max": 1e-2,
    }
    assert parameter(Dimension("a", "x", low=0.0, high=2.0), "bayes") == {
        "distribution": "uniform",
        "min": 0.0,
        "max": 2.0,
    }
    values = parameter(BETA, "bayes")["values"]
    assert (values[0], values[-1], len(values)) == (0.9, 0.9999, 16)
    steps = [math.log10((1 - a) / (1 - b)) for a, b in itertools.pairwise(values)]
    assert steps == pytest.approx([0.2] * 15, rel=0.02)  # three decades in fifteen even steps


def test_a_grid_has_lists_only(tmp_path):
    content = written(tmp_path, "optimizer=adamw", "method=grid")["adamw"]
    assert all([*node] == ["values"] for node in content["parameters"].values())
    assert "run_cap" not in content
    assert content["parameters"]["optimizer.lr"]["values"] == pytest.approx(
        [1e-5, 5.62341e-5, 10**-3.5, 1.77828e-3, 1e-2]
    )


@pytest.mark.parametrize(
    ("value", "word", "arrives"),
    [(None, "null", None), (True, True, True), ([0.9, 0.5], "[0.9, 0.5]", [0.9, 0.5]), ("a", "a", "a"), (3, 3, 3)],
)
def test_choices_that_are_no_numbers(value, word, arrives):
    [found] = parameter(Dimension("momentum", "x", choices=(value,)), "random")["values"]
    assert found == word
    [said] = create_sweep_command_args({"args": {"name": {"value": found}}})["args_no_hyphens"]
    assert compose([said]).name == arrives


def test_what_is_set_is_not_searched(tmp_path):
    found = written(tmp_path, "optimizer=adamw", "optimizer.betas=[0.9,0.99]", "optimizer.lr=0.1")
    assert {*found["adamw"]["parameters"]} == {"optimizer.eps", "optimizer.weight_decay"}
    assert "optimizer.lr=0.1" in found["adamw"]["command"]
    found = written(tmp_path, "optimizer=adamw", "++optimizer.betas.1=0.99")
    assert "optimizer.betas.1" not in found["adamw"]["parameters"]
    assert "optimizer.betas.0" in found["adamw"]["parameters"]


def test_the_words_of_ours_can_be_set(tmp_path):
    words = ("method=random", "trials=5", "early_terminate=true", "force=false", "logger.wandb.project=mine")
    content = written(tmp_path / "new" / "folder", "optimizer=sgd", *words, "logger.wandb.entity=team")["sgd"]
    assert (content["method"], content["run_cap"], content["project"], content["entity"]) == (
        "random",
        5,
        "mine",
        "team",
    )
    assert content["early_terminate"] == {"type": "hyperband", "min_iter": 3}
    assert content["command"][4:] == [
        "optimizer=sgd",
        "force=false",
        "logger.wandb.project=mine",
        "logger.wandb.entity=team",
    ]


@pytest.mark.parametrize("task", sorted(file.stem for file in (conf_dir() / "task").glob("*.yaml")))
def test_every_task_says_its_metric(task):
    node = OmegaConf.load(conf_dir() / "task" / f"{task}.yaml")
    name, direction = headline(OmegaConf.create({"task": node}))
    assert name.startswith("val/")
    assert direction in ("min", "max")


def test_the_metric_of_ratings_and_of_clicks():
    node = OmegaConf.load(conf_dir() / "task" / "recommendation.yaml")
    assert headline(OmegaConf.create({"task": node})) == ("val/rmse", "min")
    node.error = "logistic"
    assert headline(OmegaConf.create({"task": node})) == ("val/loss", "min")


def test_the_agents_command_line_runs(tmp_path):
    content = written(tmp_path, "optimizer=adamw", "experiment=digits_cnn")["adamw"]
    values = drawn(content, first=True)
    words = agents_words(content, values)
    command = [sys.executable, str(ROOT / content["program"]), *words, "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    config = OmegaConf.create(done.stdout)
    assert {key: OmegaConf.select(config, key) for key in values} == values
    assert config.optimizer._target_ == "steepest.optimizers.adamw.AdamW"


@pytest.mark.slow
def test_wandbs_agent_trains_what_the_file_says(tmp_path):
    words = ("model=logistic", "threads=1", "callbacks=none", "budget.epochs=1", f"paths.runs_dir={tmp_path}/runs")
    content = written(tmp_path, "optimizer=adamw", *words)["adamw"]
    values = drawn(content, first=False)
    args = {key: {"value": value} for key, value in values.items()}
    folders = {"HOME": str(tmp_path), "WANDB_DIR": str(tmp_path), "STEEPEST_CACHE_DIR": str(tmp_path / "cache")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with serving() as fake:
        fake.sweep = (tmp_path / "sweep-adamw.yaml").read_text()
        fake.orders = [{"type": "run", "id": "c1", "run_id": "agents", "args": args, "program": content["program"]}]
        login = {"WANDB_BASE_URL": fake.url, "WANDB_API_KEY": KEY, "PATH": path}
        command = [sys.executable, "-m", "wandb", "agent", "team/steepest/sw33p"]
        others = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        environment = {**others, **folders, **login}
        subprocess.run(command, check=True, env=environment, cwd=ROOT, capture_output=True, timeout=120)
        [run] = fake.runs.values()
    assert (run.id, run.told("sweep"), run.exit_code) == ("agents", "sw33p", 0)
    assert {key: run.config[key] for key in values} == values
    assert run.config["optimizer"]["betas"] == [values["optimizer.betas.0"], values["optimizer.betas.1"]]
    assert 0.0 <= run.summary[content["metric"]["name"]] <= 1.0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "optimizer is missing; allowed are names"),
        (["optimizer="], "optimizer is missing"),
        (["optimizer=adam,,sgd"], "optimizer is missing"),
        (["optimizer=adamx"], "optimizer=adamx is unknown; did you mean"),
        (["optimizer=torch"], "optimizer=torch has no search space"),
        (["optimizer=adam", "method=tpe"], "method=tpe is not possible; allowed is bayes, random or grid."),
        (["optimizer=adam", "trials=0"], "trials=0 is not possible; allowed is a whole number above 0."),
        (["optimizer=adam", "trials=-3"], "trials=-3 is not possible"),
        (["optimizer=adam", "early_terminate=maybe"], "early_terminate=maybe is not possible; allowed is true or"),
        (["optimizer=adam", "logger=none"], "logger=none sends nothing to W&B; allowed is logger=wandb."),
        (["optimizer=adam", "budget.epochs=-1"], "budget.epochs=-1 is out of range"),
        (["optimizer=sgd", "optimizer.lr=1", "optimizer.weight_decay=0"], "optimizer=sgd has nothing left to search"),
        (["optimizer=sgd,adamx"], "optimizer=adamx is unknown"),
    ],
)
def test_a_wrong_order_is_one_sentence_and_writes_nothing(words, sentence, tmp_path):
    with pytest.raises(ConfigError) as caught:
        main([*words, "--out", str(tmp_path / "out")])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_methods_are_wandbs():
    assert METHODS == ("bayes", "random", "grid")
    json.dumps(sweep("adamw", [], DEFAULTS))  # what goes to the server
