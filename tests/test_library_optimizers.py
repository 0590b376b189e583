"""Optimizers of torch and of pytorch_optimizer by their names: the real classes, and what is said of mistakes."""

import sys
from pathlib import Path

import pytest
import pytorch_optimizer
import torch
from omegaconf import OmegaConf
from torch import nn

from steepest.build import build, check
from steepest.cli import main
from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.optimizers.library import classes, library_optimizer, torch_optimizer

NODES = {name: OmegaConf.load(conf_dir() / "optimizer" / f"{name}.yaml") for name in ("torch", "library")}
SMALL = ["threads=1", "budget.steps=3", "model=logistic", "logger=none", "callbacks=none"]
WRAPPERS = {"FriendlySAM", "GSAM", "LookSAM", "Lookahead", "Magma", "OrthoGrad", "PCGrad", "SAM", "SafeFP16Optimizer"}
WITH_THE_MODEL = {"AdaLOMO", "AdamMini", "LOMO", "WSAM"}
REFUSED = WRAPPERS | WITH_THE_MODEL | {"AdaHessian", "SophiaH", "LBFGS", "AliG", "A2Grad"}
REFUSED |= {"AdaGO", "AdaMuon", "DistributedMuon", "Muon", "MuonClip", "NorMuon", "DeMo"}  # want groups; want einops
REFUSED |= {"TRAC", "ScheduleFreeWrapper"}


def parameters(*shapes):
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes or [(3, 2), (2,)]]


def run(optimizer, params, steps=10):
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p in params:
            p.grad = torch.sin(3 * p.detach()) + torch.randn(p.shape, generator=generator)
        optimizer.step()
    return params


def refusal(function, name, lr=0.01, params=None, **options):
    with pytest.raises(ConfigError) as caught:
        function(params or parameters(), name, lr, **options)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith("optimizer")
    return said


@pytest.mark.parametrize(
    ("name", "options", "made"),
    [
        ("Adafactor", {"beta2_decay": -0.7}, torch.optim.Adafactor),
        ("adafactor", {}, torch.optim.Adafactor),
        ("n_adam", {"betas": [0.8, 0.99], "decoupled_weight_decay": True}, torch.optim.NAdam),
        ("SGD", {"momentum": 0.9, "nesterov": True}, torch.optim.SGD),
        ("rprop", {"etas": [0.4, 1.1]}, torch.optim.Rprop),
        ("ADAMW", {"fused": None, "amsgrad": True}, torch.optim.AdamW),
    ],
)
def test_a_class_of_torch_steps_as_when_it_is_called_itself(name, options, made):
    ours, theirs = parameters(), parameters()
    optimizer = build(NODES["torch"], name=name, lr=0.02, **options)(ours)
    assert type(optimizer) is made
    torch.testing.assert_close(run(optimizer, ours), run(made(theirs, lr=0.02, **options), theirs), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "options", "made"),
    [
        ("soap", {"precondition_frequency": 2}, pytorch_optimizer.SOAP),
        ("adam_p", {"delta": 0.2}, pytorch_optimizer.AdamP),
        ("lion", {"betas": [0.9, 0.98], "weight_decay": 0.1}, pytorch_optimizer.Lion),
    ],
)
def test_a_class_of_pytorch_optimizer_steps_as_when_it_is_called_itself(name, options, made):
    ours, theirs = parameters((3, 2)), parameters((3, 2))
    optimizer = build(NODES["library"], name=name, lr=0.02, **options)(ours)
    assert type(optimizer) is made
    torch.testing.assert_close(run(optimizer, ours), run(made(theirs, lr=0.02, **options), theirs), rtol=0, atol=0)


@pytest.mark.parametrize("function", [torch_optimizer, library_optimizer])
def test_every_class_is_made_with_its_learning_rate_or_refused_in_a_sentence(function):
    library = torch.optim if function is torch_optimizer else pytorch_optimizer
    needs = {"BSAM": {"num_data": 100}, "Ranger21": {"num_iterations": 100}}
    for name in classes(library):
        if name in (REFUSED if library is pytorch_optimizer else {"LBFGS"}):
            refusal(function, name)
        else:
            optimizer = function(parameters((3, 2)), name, 0.0125, **needs.get(name, {}))
            assert isinstance(optimizer, torch.optim.Optimizer)
            share = 3 if name == "GrokFastAdamW" else 1  # its amplified gradient makes up for it
            assert optimizer.param_groups[0]["lr"] == 0.0125 / share, name


@pytest.mark.parametrize("name", NODES)
def test_the_values_of_the_yaml_train(name):
    params = parameters()
    before = [p.detach().clone() for p in params]
    run(build(NODES[name])(params), params)
    assert all(not torch.equal(a, b) for a, b in zip(params, before, strict=True))


def test_a_target_of_a_library_needs_no_name():
    made = build({"_target_": "torch.optim.Adamax", "_partial_": True, "lr": 0.5})(parameters())
    assert type(made) is torch.optim.Adamax
    assert made.param_groups[0]["lr"] == 0.5
    made = build({"_target_": "pytorch_optimizer.Lion", "_partial_": True, "lr": 0.5})(parameters())
    assert type(made) is pytorch_optimizer.Lion


@pytest.mark.parametrize(
    ("function", "name", "options", "said"),
    [
        (torch_optimizer, "Adamm", {}, "optimizer.name=Adamm is unknown; did you mean Adam"),
        (torch_optimizer, "adagrd", {}, "did you mean Adagrad"),
        (torch_optimizer, "qqq", {}, "optimizer.name=qqq is unknown; torch.optim has ASGD, Adadelta, Adafactor"),
        (torch_optimizer, "Optimizer", {}, "optimizer.name=Optimizer is unknown;"),
        (torch_optimizer, "lr_scheduler", {}, "optimizer.name=lr_scheduler is unknown;"),
        (library_optimizer, "soup", {}, "optimizer.name=soup is unknown; did you mean SOAP"),
        (library_optimizer, "BaseOptimizer", {}, "optimizer.name=BaseOptimizer is unknown;"),
        (
            torch_optimizer,
            "SGD",
            {"momentun": 0.9},
            "optimizer.momentun is unknown; did you mean optimizer.momentum? torch.optim.SGD takes lr, momentum, ",
        ),
        (
            library_optimizer,  # which would swallow it
            "adamp",
            {"weight_decai": 0.1},
            "optimizer.weight_decai is unknown; did you mean optimizer.weight_decay or optimizer.weight_d",
        ),
        (library_optimizer, "alig", {}, "optimizer.name=AliG has no learning rate lr; it takes max_lr, projection_fn"),
        (library_optimizer, "muon", {}, "optimizer.name=Muon is not possible (`use_muon` must be set)."),
        (library_optimizer, "a2grad", {}, "optimizer.name=A2Grad keeps no learning rate that a schedule could set."),
        (torch_optimizer, "Adam", {"betas": 0.9}, "optimizer.betas=0.9 is not possible; allowed is a list of 2"),
        (torch_optimizer, "Adam", {"betas": [0.9, 1.5]}, "optimizer.name=Adam is not possible (Invalid beta"),
        (torch_optimizer, "SGD", {"nesterov": True}, "optimizer.name=SGD is not possible (Nesterov momentum requires"),
        (torch_optimizer, "SGD", {"nesterov": "yes"}, "optimizer.nesterov=yes is not possible; allowed is true or"),
        (library_optimizer, "lion", {"betas": [0.9, 1.5]}, "optimizer.name=Lion is not possible ("),
        (library_optimizer, "ranger21", {}, "optimizer.num_iterations is missing; allowed is an integer."),
        (torch_optimizer, "lbfgs", {}, "optimizer.name=LBFGS evaluates the loss many times a step; optimizer=lbfgs"),
        (library_optimizer, "L_BFGS", {}, "optimizer.name=LBFGS evaluates the loss many times a step; optimizer=lbfg"),
        (library_optimizer, "ada_hessian", {}, "optimizer.name=AdaHessian needs second derivatives"),
        (library_optimizer, "sophiah", {}, "optimizer.name=SophiaH needs second derivatives"),
        (library_optimizer, "lookahead", {}, "optimizer.name=Lookahead needs another optimizer to wrap, which a conf"),
        (library_optimizer, "sam", {}, "optimizer.name=SAM needs another optimizer to wrap"),
        (library_optimizer, "adamini", {}, "did you mean AdamMini"),
        (library_optimizer, "adammini", {}, "optimizer.name=AdamMini needs the model itself, which a configuration"),
    ],
)
def test_what_cannot_be_is_one_sentence(function, name, options, said):
    assert said in refusal(function, name, **options)


def test_values_that_the_library_refuses():
    assert "optimizer.name=Adam is not possible (Invalid learning rate: -1" in refusal(torch_optimizer, "Adam", -1.0)
    assert "optimizer.name=Lion is not possible (" in refusal(library_optimizer, "Lion", -1.0)
    assert type(torch_optimizer(parameters((3, 2)), "Muon", 0.01)) is torch.optim.Muon
    said = refusal(torch_optimizer, "muon", params=parameters((3, 2), (2,)))
    assert said.startswith("optimizer.name=Muon is not possible (Muon only supports 2D parameters")


def test_without_pytorch_optimizer_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    said = refusal(library_optimizer, "lion")
    assert "pytorch_optimizer, which is not installed: pip install 'steepest[library]'." in said


def test_options_pass_the_check_of_the_configuration():
    cfg = compose(["optimizer=torch", "optimizer.name=SGD", "+optimizer.momentum=0.9"])
    check(cfg)
    assert build(cfg.optimizer)(parameters()).param_groups[0]["momentum"] == 0.9
    with pytest.raises(ConfigError, match=r"^optimizer.lr=fast is not possible; allowed is a number\.$"):
        check(compose(["optimizer=torch", "optimizer.lr=fast"]))
    with pytest.raises(ConfigError, match=r"^optimizer.name=3 is not possible; allowed is text\.$"):
        check(compose(["optimizer=torch", "optimizer.name=3"]))


def test_a_run_from_the_command_line(capsys):
    words = [*SMALL, "optimizer=torch", "optimizer.name=Adafactor", "+optimizer.beta2_decay=-0.7"]
    assert main(["train", *words]) == 0
    assert "finished" in capsys.readouterr().out
    assert main(["train", *SMALL, "optimizer=library", "optimizer.name=soap"]) == 0
    assert len(list(Path("runs").glob("*/summary.json"))) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("optimizer=torch optimizer.nme=x", "optimizer.nme is unknown; did you mean optimizer.name?"),
        ("optimizer=torch +optimizer.nme=x", "optimizer.nme is unknown;"),
        ("optimizer=torch optimizer.name=Muon model=mlp", "optimizer.name=Muon is not possible (Muon only supports 2D"),
        ("optimizer=library optimizer.name=sop", "optimizer.name=sop is unknown; did you mean SOAP"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_before_data_is_read(words, said, capsys):
    assert main(["train", *SMALL, *words.split()]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(Path().glob("runs/*"))
