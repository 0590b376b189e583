import inspect
import pickle
from dataclasses import dataclass

import pytest
import torch
from hydra.errors import MissingConfigException
from omegaconf import OmegaConf

from steepest.build import build
from steepest.config import compose, conf_dir, spelled_out
from steepest.errors import ConfigError
from steepest.targets import target
from steepest.unknown import OF_STUDIES

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())


@dataclass
class Live:
    """A live object that Hydra would take for a config."""

    value: int


def test_live_objects_keep_their_identity_even_dataclasses():
    live = Live(3)
    made = build({"_target_": "torch.nn.ParameterDict", "parameters": None})
    assert len(made) == 0
    partial = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}, lr=live)
    assert partial.keywords["lr"] is live


def test_a_live_value_replaces_the_configured_one():
    made = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1}, lr=0.5)
    assert made([torch.nn.Parameter(torch.ones(1))]).defaults["lr"] == 0.5


def test_lists_become_lists_so_that_checkpoints_stay_loadable():
    optimizer = build(OmegaConf.load(conf_dir() / "optimizer" / "adam.yaml"))([torch.nn.Parameter(torch.ones(1))])
    assert type(optimizer.param_groups[0]["betas"]) is list
    assert pickle.loads(pickle.dumps(optimizer.state_dict()))["param_groups"][0]["betas"] == [0.9, 0.999]


def test_a_node_of_nodes_becomes_a_dict_of_objects():
    made = build({"a": {"_target_": "torch.nn.ReLU"}, "b": {"_target_": "torch.nn.Tanh"}})
    assert [type(value) for value in made.values()] == [torch.nn.ReLU, torch.nn.Tanh]


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "subprocess.run",
        "torch.utils.collect_env.run",
        "torch.optim.optimizer.torch.utils.collect_env.run",  # begins harmlessly, and ran a shell command
        "steepest.build.instantiate",
        "steepestx.anything",
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_targets_outside_the_allowed_packages_are_refused(target, nested):
    node = {"_target_": target, "command": "true"}
    with pytest.raises(ConfigError, match="is not allowed"):
        build({"_target_": "torch.nn.Sequential", "_args_": [node]} if nested else node)


def test_a_mistake_of_the_user_comes_out_of_hydra_as_it_was():
    with pytest.raises(ConfigError, match=r"^batch.size=0 is out of range"):
        build(compose(["batch.size=0"]).batch)


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch):
    def broken(self):
        raise TypeError("can only concatenate str")

    monkeypatch.setattr("steepest.batch.Batch.__post_init__", broken)
    with pytest.raises(TypeError, match="can only concatenate"):
        build(compose().batch)


def test_a_key_that_the_target_does_not_take_is_a_mistake_of_the_user():
    with pytest.raises(ConfigError, match=r"^batch.sizes is unknown; did you mean batch.size\?"):
        build({"_target_": "steepest.batch.Batch", "sizes": 3})


def test_self_comes_first_and_experiment_last():
    defaults = [item for item in OmegaConf.load(conf_dir() / "config.yaml").defaults if "override" not in str(item)]
    assert defaults[0] == "_self_"
    assert list(defaults[-1]) == ["experiment"]


@pytest.mark.parametrize(
    ("group", "name"),
    [
        (path.parent.name, path.stem)
        for path in sorted(conf_dir().glob("*/*.yaml"))
        if path.parent.name not in ("tuned", "experiment", *OF_STUDIES)
    ],
)
def test_every_value_composes_and_states_the_signature(group, name):
    cfg = compose([f"{group}={name}"])
    assert cfg.choices[group] == name
    node = cfg[group]
    for child in [node] if "_target_" in node else node.values() if group in ("logger", "callbacks") else []:
        if not child["_target_"].startswith("steepest."):
            continue
        cls = target(child)
        accepted = {
            key
            for base in getattr(cls, "__mro__", [cls])
            if "__init__" in vars(base) or cls is base
            for key, parameter in inspect.signature(base).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD
        }
        assert {key for key in child if not key.startswith("_")} <= accepted


@pytest.mark.parametrize("name", [path.stem for path in sorted((conf_dir() / "experiment").glob("*.yaml"))])
def test_an_experiment_composes_and_can_be_overridden(name):
    assert compose([f"experiment={name}"]).choices.experiment == name
    cfg = compose([f"experiment={name}", "optimizer=sgd", "seed=7", "schedule=constant"])
    assert (cfg.choices.optimizer, cfg.choices.schedule, cfg.seed) == ("sgd", "constant", 7)
    assert "Constant" in cfg.schedule["_target_"]


def test_tuned_is_opt_in_and_names_experiment_and_optimizer(tmp_path):
    assert compose(["tuned=false"]).choices.tuned == "none"
    assert compose(["experiment=digits_vit"]).optimizer.lr == 1e-3
    assert compose(["experiment=digits_vit", "tuned=true"]).optimizer.lr == 1e-2
    assert compose(["experiment=digits_vit", "tuned=true", "optimizer.lr=5"]).optimizer.lr == 5
    assert spelled_out("tuned=true,false") == "tuned=${experiment}-${optimizer},none"
    with pytest.raises(MissingConfigException, match="'tuned/digits_cnn-sgd'"):
        compose(["experiment=digits_cnn", "optimizer=sgd", "tuned=true"])
