"""Every mistake is one sentence with exit code 2, told before any training; a defect keeps its traceback."""

import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image

from steepest import build, nodes, schema
from steepest.assemble import assemble
from steepest.cli import main
from steepest.config import compose, conf_dir
from steepest.datasets.examples import Source
from steepest.datasets.memory import MemoryImages
from steepest.errors import ConfigError, did_you_mean, listed, near, shown
from steepest.launchers.machine import settle
from steepest.targets import ALLOW_VARIABLE, target
from steepest.unknown import OF_STUDIES

SMALL = ["threads=1", "budget.steps=1", "model=logistic", "logger=none", "callbacks=none"]
DEFAULT = compose()
FILES = sorted(conf_dir().glob("*/*.yaml"))
CHOICES = [(path.parent.name, path.stem) for path in FILES if path.parent.name not in OF_STUDIES]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    monkeypatch.setenv(ALLOW_VARIABLE, "")
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["train.py"])


def mistake(capsys, *words):
    """What the command says of these words: one line, exit code 2 and nothing written."""
    assert main(["train", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("steepest: ")
    assert line.endswith((".", "?"))
    assert not list(Path().iterdir())
    return line.removeprefix("steepest: ")


def refusal(check, *words):
    """What a check says of the configuration of these words."""
    with pytest.raises(ConfigError) as caught:
        check(compose(list(words)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "optimizer=adamx",
            "optimizer=adamx is unknown; did you mean adamax, adam or radam? allowed are adabelief, adadelta",
        ),
        ("optimizer=ADAM", "did you mean adam"),
        ("~optimizer", "optimizer is missing; allowed is one of adabelief"),
        ("optimizer=", "optimizer='' is unknown; allowed are adabelief, adadelta"),
        ("logger=[wandb,csvv]", "logger=csvv is unknown; did you mean csv?"),
        ("experiment=digit_cnn", "experiment=digit_cnn is unknown; did you mean digits_cnn"),
        ("tuned=true", "tuned=true needs an experiment; allowed are digits_vit-adamw, or tuned=false."),
        (
            "tuned=true experiment=digits_cnn",
            "tuned=true finds no values for digits_cnn-sgd_momentum; allowed are digits_",
        ),
        ("optimizer=null", "optimizer=null is not possible; allowed is one of adabelief, ada"),
        ("optimizer=3", "optimizer=3 is not possible; allowed is one of adabelief, adadelta"),
        ("optimizer=[adam,sgd]", "optimizer=[adam, sgd] is not possible; allowed is one of adabelief"),
        (
            "optimizer=adam,sgd",
            "optimizer=adam,sgd holds several values; allowed is one, or all of them as a sweep with -m.",
        ),
        ("optimizer", "'optimizer' has no value; allowed is optimizer=one of adabelief, ada"),
        ("optimizer=a=b", "optimizer=a=b cannot be read ("),
        ("optimizer.lr=[1", "optimizer.lr=[1 cannot be read ("),
        ("=3", "'=3' names no key; allowed is key=value."),
        ("modle=cnn", "modle is unknown; did you mean model?"),
        ("optimizr.lr=1", "optimizr is unknown; did you mean optimizer?"),
        ("zzz.like.it=1", "zzz is unknown; allowed are seed, threads"),
        ("lr=0.1", "lr is unknown; did you mean optimizer.lr?"),
        (
            "optimizer.lrr=1",
            "optimizer.lrr is unknown; did you mean optimizer.lr? optimizer=sgd_momentum has lr, momentum",
        ),
        ("budget.step=3", "budget.step is unknown; did you mean budget.steps?"),
        ("budget={step:3}", "budget.step is unknown; did you mean budget.steps?"),
        ("logger.wandb.projct=x", "logger.wandb.projct is unknown; did you mean logger.wandb.project?"),
        ("optimizer.lr.x=1", "optimizer.lr.x is unknown; optimizer.lr is a single value."),
        (
            "schedule=cosine schedule.warmup=3",
            "schedule.warmup is unknown; schedule=cosine has min_ratio and min_lr; warmup belongs to inverse_sqrt",
        ),
        ("experiment=digits_vit optimizer.momentum=0.5", "optimizer=adamw has lr, betas"),
        ("~optimizer.foo", "optimizer.foo is unknown; optimizer=sgd_momentum has"),
        ("~budget.seconds", "~budget.seconds is not possible, since it is null; allowed is a value."),
        ("+optimizer=adam", "+optimizer would be there twice; allowed is optimizer=value, without the plus sign."),
        ("+seed=1", "+seed would be there twice; allowed is seed=value"),
        ("optimizer=adam optimizer.betas.5=0.5", "optimizer.betas.5=0.5"),
        ("hydra.job.foo=1", "hydra.job.foo is unknown; allowed are the keys that --cfg hydra shows."),
        ("--lr 0.1", "--lr is no option; values are given as key=value; did you mean optimizer.lr=...?"),
        (
            "--frobnicate",
            "--frobnicate is no option; values are given as key=value; options are listed by --hydra-help.",
        ),
        ("--config-dir /no/such/folder", "--config-dir=/no/such/folder does not exist; allowed is a folder."),
        ("--config-name nothing", "--config-name=nothing is unknown; allowed is config"),
        ("--config-name", "--config-name/-cn: expected one argument."),
        ("seed=${nope}", "seed=${nope} refers to nope, which is unknown; allowed are keys of the configuration."),
        ("seed=${seed}", "seed=${seed} cannot be resolved ("),
        ("seed=${oc.env:NOT_SET}", "seed=${oc.env:NOT_SET} cannot be resolved ("),
        ("paths.runs_dir=${nope}", "paths.runs_dir=${nope} refers to nope"),
        ("seed=???", "seed=??? is missing; a value is needed."),
        (
            "--allow-target 3x",
            "--allow-target 3x (or STEEPEST_ALLOW_TARGETS) is not possible; allowed is the name of a pack",
        ),
    ],
)
def test_a_mistake_in_the_composition_is_one_sentence(words, said, capsys):
    assert said in mistake(capsys, *words.split())


def test_the_last_of_two_values_counts_as_everywhere_in_hydra(capsys):
    assert main(["train", "seed=1", "seed=2", "--cfg", "job"]) == 0
    assert "\nseed: 2\n" in "\n" + capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "said"), [("seed: [", "is no YAML"), ("seeed: 3", "seeed is unknown; did you mean seed?")]
)
def test_a_config_file_of_the_user_is_held_against_the_same_rules(content, said, capsys, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "experiment").mkdir()
    (folder / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    assert said in mistake(capsys, "--config-dir", str(folder), "experiment=mine")


PLAIN = [
    ("seed=1.5", "an integer from 0 to 4294967295"),
    ("seed=-1", "an integer from 0"),
    ("seed=4294967296", "an integer from 0"),
    ("seed=true", "an integer from 0"),
    ("seed='3'", "an integer from 0"),
    ("seed=null", "an integer from 0"),
    ("threads=x", "an integer of 1 or more, or null"),
    ("threads=0", "an integer of 1 or more, or null"),
    ("name=[1]", "text, or null"),
    ("name=3", "text, or null"),
    ("init_from=3", "a run folder"),
    ("force=maybe", "true or false"),
    ("force=1", "true or false"),
    ("budget=3", "a mapping with steps, epochs, examples and seconds"),
    ("budget.steps=many", "a whole number above 0, or null"),
    ("budget.steps=2.5", "a whole number above 0, or null"),
    ("budget.steps=0", "a whole number above 0, or null"),
    ("budget.epochs=nan", "a number above 0, or null"),
    ("budget.epochs=inf", "a number above 0, or null"),
    ("budget.seconds=-1", "a number above 0, or null"),
    ("validation.every=0", "an integer of 1 or more"),
    ("validation.every=0.0", "above 0.0, up to 1.0"),
    ("validation.every=1.5", "above 0.0, up to 1.0"),
    ("validation.every=-1", "an integer of 1 or more"),
    ("validation.every=often", '"3 epochs"'),
    ("validation.every=null", '"3 epochs"'),
    ("clip.norm=abc", "a number above 0, or null"),
    ("clip.norm=-1", "a number above 0, or null"),
    ("clip.norm=nan", "a number above 0, or null"),
    ("clip.value=true", "a number above 0, or null"),
    ("log.every=0", "an integer of 1 or more"),
    ("log.every=null", "an integer of 1 or more"),
    ("log.norms=yes", "true or false"),
    ("checkpoint.every_steps=0", "an integer of 1 or more, or null"),
    ("checkpoint.every_seconds=-1", "a number above 0, or null"),
    ("checkpoint.keep=1", "an integer of 2 or more, or null"),
    ("paths.runs_dir=3", "a folder's name"),
    ("paths.data_dir=null", "a folder's name"),
    ("trainer.devices=x", "an integer of 1 or more"),
    ("trainer.devices=0", "an integer of 1 or more"),
    ("trainer.num_nodes=0", "an integer of 1 or more"),
    ("trainer.accelerator=abacus", "auto, cpu, gpu or tpu"),
    ("trainer.strategy=foo", "auto, ddp,"),
    ("precision.lightning=8-bit", "32-true, 64-true"),
    ("precision.float32_matmul=lowest", "highest, high or medium"),
    ("precision.needs_cuda=3", "true or false"),
    ("optimizer._partial_=false", "true, since"),
    ("optimizer._target_=3", "the full name of a class or function"),
    ("logger.wandb=null", "a mapping with _target_"),
]


@pytest.mark.parametrize(("word", "allowed"), PLAIN)
def test_a_plain_value_that_is_not_allowed_is_named_with_its_key(word, allowed):
    cfg = DEFAULT.copy()
    override = OverridesParser.create().parse_override(word)
    OmegaConf.update(cfg, override.key_or_group, override.value())
    with pytest.raises(ConfigError) as caught:
        schema.check(cfg)
    said = str(caught.value)
    assert said.startswith(f"{word} is ")
    assert "allowed" in said
    assert allowed in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("clip.norm=1 clip.value=2", "clip.norm=1 and clip.value=2 exclude each other; allowed is one."),
        ("budget.epochs=null", "budget.steps, budget.epochs and budget.examples are all null; one of them is needed."),
        ("~seed", "seed is missing; allowed is an integer from 0"),
        ("~clip", "clip is missing; allowed is a mapping."),
        ("~budget.epochs", "budget.epochs is missing; allowed is a number above 0, or null."),
        ("~optimizer._target_", "optimizer._target_ is missing; allowed is the full name"),
        ("~logger.wandb._target_", "logger.wandb._target_ is missing"),
        ("+budget.stepps=3", "budget.stepps is unknown; did you mean budget.steps?"),
        ("+frobnicate=3", "frobnicate is unknown; allowed are seed, threads"),
    ],
)
def test_what_is_missing_or_unknown_among_the_plain_keys_is_named(words, said):
    assert said in refusal(schema.check, *words.split())


@given(
    key=st.sampled_from(
        ["threads", "budget.steps", "budget.examples", "log.every", "checkpoint.keep", "trainer.devices"]
    ),
    value=st.integers(max_value=0) | st.text(max_size=5) | st.booleans() | st.lists(st.integers(), max_size=2),
)
@settings(deadline=None, max_examples=40)
def test_nothing_but_a_positive_integer_is_a_count(key, value):
    cfg = DEFAULT.copy()
    OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises(ConfigError, match=f"^{key}="):
        schema.check(cfg)


@given(seed=st.integers(0, 2**32 - 1), norm=st.none() | st.floats(1e-30, 1e30), every=st.integers(1, 10**9))
@settings(deadline=None, max_examples=20)
def test_values_within_the_range_pass(seed, norm, every):
    cfg = DEFAULT.copy()
    cfg.seed, cfg.clip.norm, cfg.log.every, cfg.validation.every = seed, norm, every, every
    schema.check(cfg)


@pytest.mark.parametrize(("group", "name"), [choice for choice in CHOICES if choice[0] not in ("tuned", "hydra")])
def test_every_value_of_every_group_passes_the_checks(group, name):
    cfg = compose([f"{group}={name}"])
    schema.check(cfg)
    build.check(cfg)


def test_the_schema_has_the_keys_of_the_configuration_and_no_other():
    assert {*DEFAULT} == {*nodes.Config.model_fields}
    for key, field in nodes.Config.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, nodes.Node) and not issubclass(kind, nodes.Part):
            known = {name for name, of in kind.model_fields.items() if of.is_required() or name in DEFAULT[key]}
            assert {*DEFAULT[key]} == known, key
            of_some = {*kind.model_fields} - known  # values of the group have them that are not the default
            files = [OmegaConf.load(file) for file in (conf_dir() / key).glob("*.yaml")]
            assert all(any(name in file for file in files) for name in of_some), key


NODES = [
    ("optimizer.lr=abc", "a number"),
    ("optimizer.lr=true", "a number"),
    ("optimizer.lr=nan", "a number"),
    ("optimizer.lr=inf", "a number"),
    ("optimizer.lr=null", "a number"),
    ("optimizer.maximize=maybe", "true or false"),
    ("optimizer=adam optimizer.betas=0.9", "a list of 2 numbers"),
    ("optimizer=adam optimizer.betas=[0.9]", "a list of 2 numbers"),
    ("optimizer=adam optimizer.betas=[0.9, x]", "a list of 2 numbers"),
    ("model=mlp model.hidden=3", "a list of integers"),
    ("model=mlp model.hidden=[3, 1.5]", "a list of integers"),
    ("model=mlp model.activation=null", "text"),
    ("batch.size=x", "an integer, or null"),
    ("batch.size=1.5", "an integer, or null"),
    ("schedule.min_ratio=x", "a number"),
    ("schedule=step schedule.every=true", "a number or text"),
    ("task.label_smoothing=x", "a number"),
    ("dataset.mean=3", "a list of numbers"),
    ("dataset.std=[a]", "a list of numbers"),
    ("dataset.validation_fraction=x", "a number"),
    ("dataset.flip=yes", "true or false"),
    ("dataset=noise dataset.classes=x", "an integer"),
    ("logger.wandb.project=3", "text"),
]


@pytest.mark.parametrize(("words", "allowed"), NODES)
def test_a_value_of_another_type_than_the_targets_is_named_with_its_key(words, allowed):
    *before, word = words.replace(", ", ",").split()
    said = refusal(build.check, *before, word)
    assert said == f"{word.replace(',', ', ')} is not possible; allowed is {allowed}."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("+model.foo=1", "model.foo is unknown; steepest.models.cnn.CNN takes widths and dropout."),
        ("+optimizer.momentun=1", "optimizer.momentun is unknown; did you mean optimizer.momentum?"),
        ("dataset=noise +dataset.clases=1", "dataset.clases is unknown; did you mean dataset.classes?"),
        ("+logger.wandb.foo=1", "logger.wandb.foo is unknown; steepest.runs.wandb_logger.WandbLogger takes"),
        ("logger=csv +logger.csv.foo=1", "logger.csv.foo is unknown; pytorch_lightning.loggers.CSVLogger takes"),
        (
            "logger=csv +logger.csv.flush_logs_every_n_steps=x",
            "flush_logs_every_n_steps=x is not possible; allowed is an int",
        ),
        (
            "trainer=fsdp2 +trainer.strategy.foo=1",
            "trainer.strategy.foo is unknown; pytorch_lightning.strategies.Model",
        ),
        ("trainer=fsdp2 trainer.strategy.tensor_parallel_size=x", "allowed is one of auto or an integer"),
        ("optimizer._target_=torch.optim.Nope", "optimizer._target_=torch.optim.Nope does not exist"),
        ("optimizer._target_=torch.optim", "optimizer._target_=torch.optim is not allowed"),
        ("optimizer._target_=torch.optim.AdamW", "optimizer.momentum is unknown; torch.optim.AdamW takes lr, betas"),
        ("+model.layer._target_=os.system", "model.layer"),
        ("trainer.strategy={_target_:os.system,command:ls}", "trainer.strategy._target_=os.system is not allowed"),
        (
            "+callbacks.stop._target_=pytorch_lightning.callbacks.EarlyStopping",
            "callbacks.stop.monitor is missing; allowed is",
        ),
        (
            "+callbacks.stop={_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:loss,mode:up}",
            "callbacks.stop with _target_=pytorch_lightning.callbacks.EarlyStopping is not possible (`mode` can be",
        ),
    ],
)
def test_a_node_that_its_target_cannot_take_is_named(words, said):
    assert said in refusal(build.check, *words.split())


def test_loggers_of_lightning_pass_as_they_are():
    build.check(compose(["logger=[wandb,csv,tensorboard]", "+logger.tensorboard.max_queue=3"]))


def assembled(*words):
    cfg = compose([*SMALL, *words])
    schema.check(cfg)
    build.check(cfg)
    settle(cfg)
    return assemble(cfg)


ADAMW = ["optimizer=sgd", "optimizer._target_=torch.optim.AdamW", "~optimizer.weight_decay_form", "~optimizer.cautious"]


def test_an_optimizer_of_torch_needs_no_code_of_ours():
    parts = assembled(*ADAMW, "+optimizer.betas=[0.8,0.9]", "optimizer.lr=0.25")
    [group] = parts.task.configure_optimizers().param_groups
    assert (group["lr"], tuple(group["betas"])) == (0.25, (0.8, 0.9))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.lr=-1"], "optimizer.lr=-1 is not possible; allowed is a number of 0 or more."),
        (["optimizer.lr=-1", "batch.lr_scaling=linear", "batch.size=64"], "optimizer.lr=-1 is not possible"),
        (
            ["optimizer=adam", "optimizer.betas=[0.9,1.5]"],
            "optimizer.betas=[0.9, 1.5] is not possible; allowed are numbers",
        ),
        (["optimizer=adam", "optimizer.eps=-1"], "optimizer.eps=-1 is not possible; allowed is a number of 0 or more."),
        (["optimizer.momentum=1"], "optimizer.momentum=1 is not possible; allowed is a number from 0 to below 1."),
        (
            ["optimizer.weight_decay_form=L2"],
            "optimizer.weight_decay_form=L2 is unknown; allowed are l2, times_lr, decoupled.",
        ),
        (["~optimizer.lr"], "optimizer.lr is missing; allowed is a number of 0 or more."),
        (
            [*ADAMW, "optimizer.lr=-1"],
            "optimizer with _target_=torch.optim.AdamW is not possible (Invalid learning rate: -1).",
        ),
        (["schedule.min_lr=5"], "schedule.min_lr=5 exceeds the learning rate"),
        (["schedule=warmup_cosine", "schedule.warmup=2"], "schedule.warmup=2 would take 2 steps of a run of 1"),
        (["~dataset.mean"], "dataset.mean is missing; allowed is a list of numbers."),
        (
            ["dataset.validation_fraction=0"],
            "dataset.validation_fraction=0 leaves no validation split of 1438 training",
        ),
        (["model=resnet8", "~model.width", "+model.heads=3"], "model.heads is unknown"),
        (
            ["model={_target_:torch.nn.Linear}", "~model.bias"],
            "model=logistic needs in_features, which neither model.in_feat",
        ),
        (
            [
                "dataset=noise",
                "dataset.num_examples=1000",
                "model={_target_:torchvision.models.resnet18}",
                "~model.bias",
            ],
            "turns batches of 128 x 3 x 32 x 32 of dataset=noise into outputs of shape [128, 1000]; allowed is [",
        ),
    ],
)
def test_parts_that_cannot_be_built_are_named(words, said):
    with pytest.raises(ConfigError) as caught:
        assembled(*words)
    assert said in str(caught.value)


def test_ranges_are_told_before_data_is_read(monkeypatch):
    def read(self):
        raise AssertionError("too late")

    monkeypatch.setattr("steepest.datasets.digits.Digits.read", read)
    for word in ("optimizer.lr=-1", "batch.size=0", "schedule.min_ratio=2"):
        with pytest.raises(ConfigError, match=f"^{word} "):
            assembled(word)


def test_an_unwritable_run_folder_is_told_at_once(capsys, tmp_path_factory):
    file = tmp_path_factory.mktemp("elsewhere") / "file"
    file.write_text("")
    for path in (file, file / "below" / "it"):
        said = mistake(capsys, f"paths.runs_dir={path}")
        assert said.startswith(f"paths.runs_dir={path} is not possible, since {file} is no folder; allowed is a folder")
    schema.check(compose([f"paths.runs_dir={file.parent / 'new' / 'folder'}"]))
    assert not (file.parent / "new").exists()


MINE = """
import os
import torch

class Mine(torch.nn.Linear):
    def __init__(self, *, input_shape, num_classes, broken: bool = False):
        super().__init__(64, num_classes)
        if broken:
            "3" + 3

    def forward(self, x):
        return super().forward(x.flatten(1))
"""


@pytest.fixture
def mine(tmp_path_factory, monkeypatch):
    """A package of the user's."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "minepackage.py").write_text(MINE)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "minepackage", raising=False)
    return ["~model.bias", "model._target_=minepackage.Mine"]


@pytest.mark.parametrize(
    "loosen",
    [
        "+STEEPEST_ALLOW_TARGETS=minepackage",
        "+hydra.job.env_set.STEEPEST_ALLOW_TARGETS=minepackage",
        "+hydra.job.env_set.STEEPEST_ALLOW_TARGETS=minepackage.",
        "++run.STEEPEST_ALLOW_TARGETS=minepackage",
        "seed=0",
    ],
)
def test_no_config_key_allows_more_targets(loosen, mine, capsys):
    said = mistake(capsys, *SMALL, *mine, loosen)
    assert "STEEPEST_ALLOW_TARGETS" in said
    assert "is unknown" in said or "model._target_=minepackage.Mine is not allowed" in said
    assert "minepackage" not in sys.modules


def test_the_command_line_or_the_environment_allows_more_targets(mine, capsys, monkeypatch):
    assert main(["train", *SMALL, *mine, "--allow-target", "other", "--allow-target", "minepackage"]) == 0
    assert os.environ[ALLOW_VARIABLE] == "other,minepackage"  # so that ranks and workers inherit it
    [folder] = Path("runs").iterdir()
    assert main(["eval", str(folder)]) == 0
    monkeypatch.setenv(ALLOW_VARIABLE, "")
    capsys.readouterr()
    assert main(["eval", str(folder)]) == 2
    assert "model._target_=minepackage.Mine is not allowed" in capsys.readouterr().err
    assert main(["train", *SMALL, *mine, "seed=1"]) == 2
    monkeypatch.setenv(ALLOW_VARIABLE, " minepackage. ,")
    assert main(["train", *SMALL, *mine, "seed=1"]) == 0


@pytest.mark.parametrize("allow", ["mine", "minepackage.Other", "min"])
def test_an_allowed_name_is_whole_words(allow, mine, monkeypatch):
    monkeypatch.setenv(ALLOW_VARIABLE, allow)
    with pytest.raises(ConfigError, match="is not allowed"):
        target({"_target_": "minepackage.Mine"})


def test_what_an_allowed_package_imports_is_not_allowed_with_it(mine, monkeypatch):
    monkeypatch.setenv(ALLOW_VARIABLE, "minepackage")
    assert target({"_target_": "minepackage.Mine"}).__name__ == "Mine"
    with pytest.raises(ConfigError, match=r"_target_=minepackage\.os\.system is not allowed"):
        target({"_target_": "minepackage.os.system"})


def test_a_fault_within_a_constructor_keeps_its_traceback_and_a_wrong_key_does_not(mine, capsys):
    words = [*SMALL, *mine, "--allow-target=minepackage"]
    assert "model.brokn is unknown; did you mean model.broken?" in mistake(capsys, *words, "+model.brokn=true")
    paths = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "steepest.cli", "train", *words, "+model.broken=true"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "TypeError: can only concatenate str" in done.stderr


def test_an_unknown_name_in_a_sweep_ends_it_before_its_first_job(capsys):
    assert main(["train", *SMALL, "-m", "optimizer=adam,adamx"]) == 2
    assert "steepest: optimizer=adamx is unknown; did you mean adamax, adam or radam?" in capsys.readouterr().err
    assert not list(Path("runs").glob("r*"))


def test_a_mistake_in_a_job_of_a_sweep_is_told_before_any_begins(capsys):
    assert main(["train", *SMALL, "-m", "seed=0,-1"]) == 2
    assert capsys.readouterr().err.startswith("steepest: seed=-1 is not possible; allowed is an integer from 0 to ")
    assert not list(Path("runs").glob("*/summary.json"))


def images(count=4, side=2, labels=(0, 1)):
    return MemoryImages(
        torch.zeros(count, 1, side, side, dtype=torch.uint8), torch.tensor(labels).repeat(count)[:count]
    )


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        (
            images(labels=(0, 2)),
            images(),
            "dataset=x has the label 2 in its training part; allowed are 0 to 1, the 2 cl",
        ),
        (images(), images(labels=(0, 200)), "dataset=x has the label 200 in its test part"),
        (images(labels=(0, -1)), images(), "dataset=x has the label -1 in its training part"),
        (images(), images(side=3), "training images of shape [1, 2, 2] and test images of [1, 3, 3]"),
        (images(count=0), images(), "dataset=x holds no image in its training part"),
        (images(), images(count=0), "dataset=x holds no image in its test part"),
    ],
)
def test_parts_of_a_data_set_are_held_against_each_other(train, test, said):
    Source(images(), images(), ["a", "b"]).check("x")
    with pytest.raises(ConfigError) as caught:
        Source(train, test, ["a", "b"]).check("x")
    assert said in str(caught.value)


def parquet(file, rows=20, label="label", names=3, labels=None, image=None):
    picture = image or Image.fromarray(np.zeros((4, 4), np.uint8))
    features = datasets.Features({"image": datasets.Image(), label: datasets.ClassLabel(num_classes=names)})
    values = {"image": [picture] * rows, label: labels or [0] * rows}
    datasets.Dataset.from_dict(values, features=features).to_parquet(file)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: parquet(f, label="other"), "test split: column label is missing; the columns are image, other."),
        (
            lambda f: parquet(f, names=9, labels=[7] * 20),
            "dataset=mnist_hf has the label 7 in its test part; allowed are 0",
        ),
        (lambda f: parquet(f, rows=0), "test-0.parquet cannot be read (it holds no rows); delete it and get it again."),
        (lambda f: f.write_bytes(b""), "test-0.parquet cannot be read ("),
        (lambda f: f.write_bytes(b"no Parquet" * 99), "test-0.parquet cannot be read ("),
        (lambda f: f.write_bytes(f.read_bytes()[:-50]), "test-0.parquet cannot be read ("),
        (lambda f: f.unlink(), "holds train; allowed are"),
    ],
)
def test_a_damaged_parquet_file_is_named(damage, said, tmp_path):
    for part in ("train", "test"):
        parquet(tmp_path / f"{part}-0.parquet")
    damage(tmp_path / "test-0.parquet")
    with pytest.raises(ConfigError) as caught:
        assembled("dataset=mnist_hf", f"dataset.path={tmp_path}", "batch.size=2")
    assert said in str(caught.value)


def test_words_of_the_messages():
    assert [shown(v) for v in (None, True, 1e-3, "abc", "3", "", "null", [1, None], {"a": False})] == [
        *("null", "true", "0.001", "abc", "'3'", "''", "'null'", "[1, null]", "{a: false}"),
    ]
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
    assert near("ADMA", ["adam", "sgd"]) == ["adam"]
    assert did_you_mean([]) == ""
