"""Settings of one optimizer as those of another: each rule's numbers, what they do to a trajectory, and bad input."""

import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from steepest.build import build, check
from steepest.cli import main
from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.translate import translate, way
from steepest.translation_rules import RULES

SCRIPT = conf_dir().parent / "scripts" / "translate.py"
PAIRS = [(one.source, one.target) for one in RULES]
BOTH_WAYS = sorted({tuple(sorted(pair)) for pair in PAIRS if pair[::-1] in PAIRS})
EXACT = [
    (*pair, form)
    for pair in [("sgd_momentum", "heavy_ball"), ("adamw", "adam")]
    for form in ("l2", "times_lr", "decoupled")
]
EXACT += [("adam", "adamw", form) for form in ("times_lr", "decoupled")]  # l2 is refused, see below


def values(source, target, decay_form=None, **given):
    return translate(source, target, given, decay_form).values


def trajectory(name, setting, steps=30):
    """Where an optimizer goes from one point, under gradients of the point and the step."""
    x = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    optimizer = build(compose([f"optimizer={name}"]).optimizer, **setting)([x])
    for step in range(steps):
        x.grad = torch.sin(3 * x.detach()) + torch.tensor([0.1, -0.2, 0.3]) * step
        optimizer.step()
    return x.detach()


# --- the numbers that the sources give


def test_lion():
    found = translate("adamw", "lion", {"lr": 3e-4, "weight_decay": 0.1})
    assert found.values["betas"] == [0.9, 0.99]
    assert found.ranges == {"lr": (3e-5, 1e-4), "weight_decay": (0.3, 1.0)}
    assert 3 <= 3e-4 / found.values["lr"] <= 10
    assert found.values["lr"] * found.values["weight_decay"] == pytest.approx(3e-4 * 0.1)
    [(where, text, citation)] = found.steps
    assert (where, citation) == ("adamw -> lion", "Chen et al. 2023, arXiv:2302.06675, Section 5")
    assert text.startswith("Learning rate 3 to 10 times smaller")
    back = translate("lion", "adamw", {"lr": 3e-5, "weight_decay": 1.0})
    assert back.ranges == {"lr": (9e-5, 3e-4), "weight_decay": (0.1, 0.333333)}
    assert (back.values["betas"], back.values["eps"]) == ([0.9, 0.999], 1e-8)


def test_adan_schedule_free_prodigy_muon_soap():
    setting = {"lr": 1e-3, "weight_decay": 0.1, "betas": [0.8, 0.95], "eps": 1e-7}
    adan = translate("adamw", "adan", setting)
    assert adan.ranges == {"lr": (5e-3, 1e-2)}
    assert (adan.values["weight_decay"], adan.values["betas"]) == (0.02, [0.98, 0.92, 0.99])
    assert values("adamw", "adan", weight_decay=0.0)["weight_decay"] == 0.0
    free = translate("adamw", "schedule_free_adamw", setting)
    assert free.ranges == {"lr": (1e-3, 1e-2)}
    assert (free.values["betas"], free.values["weight_decay"], free.values["eps"]) == ([0.9, 0.95], 0.1, 1e-7)
    prodigy = values("adamw", "prodigy", **setting)
    assert (prodigy["lr"], prodigy["weight_decay"], prodigy["betas"]) == (1.0, 0.1, [0.8, 0.95])
    muon = values("adamw", "muon", **setting)
    assert (muon["lr"], muon["weight_decay"], muon["adjust_lr"]) == (1e-3, 0.1, "match_rms_adamw")
    assert (muon["betas"], muon["adam_eps"]) == ([0.8, 0.95], 1e-7)
    soap = values("adamw", "soap", **setting)
    assert {key: soap[key] for key in setting} == setting


def test_sgd_and_its_relatives():
    free = translate("sgd_momentum", "schedule_free_sgd", {"lr": 0.05, "weight_decay": 1e-4})
    assert free.ranges == {"lr": (0.5, 2.5)}
    assert (free.values["momentum"], free.values["weight_decay"]) == (0.9, 1e-4)
    assert values("sgd_momentum", "sgd", lr=0.01, momentum=0.95)["lr"] == 0.2
    assert values("sgd", "sgd_momentum", lr=0.2)["lr"] == 0.02
    assert values("heavy_ball", "nesterov", lr=0.3, momentum=0.7)["momentum"] == 0.7


def test_adam_and_its_relatives():
    assert values("adam", "adabelief", eps=1e-6)["eps"] == 1e-12
    assert values("adabelief", "adam", eps=1e-16)["eps"] == 1e-8
    for name in ("amsgrad", "nadam", "radam"):
        setting = {"lr": 0.03, "betas": [0.8, 0.9], "eps": 1e-5, "weight_decay": 0.1, "weight_decay_form": "l2"}
        assert {key: values("adam", name, **setting)[key] for key in setting} == setting
    assert values("adamw", "nadam")["weight_decay_form"] == "times_lr"


# --- what they come to


@pytest.mark.parametrize(("source", "target", "form"), EXACT)
def test_exact_rules_leave_the_trajectory(source, target, form):
    setting = {"lr": 0.02, "weight_decay": 0.01, "weight_decay_form": form}
    ours, theirs = trajectory(source, setting), trajectory(target, values(source, target, **setting))
    torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_a_steady_step_is_as_long_without_momentum(momentum):
    setting = {"lr": 0.01, "momentum": momentum}
    for name, given in (("sgd_momentum", setting), ("sgd", values("sgd_momentum", "sgd", **setting))):
        x = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        optimizer = build(compose([f"optimizer={name}"]).optimizer, **given)([x])
        x.grad = torch.ones_like(x)
        for _ in range(300):
            before = x.item()
            optimizer.step()
        assert before - x.item() == pytest.approx(0.01 / (1 - momentum), rel=1e-9)


@pytest.mark.parametrize("form", ["l2", "times_lr", "decoupled"])
def test_decay_alone_shrinks_weights_as_fast_without_momentum(form):
    setting = {"lr": 1e-3, "momentum": 0.9, "weight_decay": 0.01, "weight_decay_form": form}
    left = {}
    for name, given in (("sgd_momentum", setting), ("sgd", values("sgd_momentum", "sgd", **setting))):
        x = nn.Parameter(torch.ones(1, dtype=torch.float64))
        optimizer = build(compose([f"optimizer={name}"]).optimizer, **given)([x])
        x.grad = torch.zeros_like(x)
        for _ in range(2000):
            optimizer.step()
        left[name] = 1 - x.item()
    assert left["sgd"] == pytest.approx(left["sgd_momentum"], rel=0.01)


@pytest.mark.parametrize("name", ["adamw", "lion", "soap", "sgd_momentum"])
def test_a_decay_of_another_form_is_the_same_at_a_constant_lr(name):
    setting = {"lr": 0.02, "weight_decay": 0.3, "weight_decay_form": "times_lr"}
    found = translate(name, name, setting, "decoupled")
    assert found.values["weight_decay"] == pytest.approx(0.006)
    assert found.steps[0][0] == "decay_form=decoupled"
    if name != "soap":  # a vector is no matrix
        torch.testing.assert_close(trajectory(name, found.values), trajectory(name, setting), rtol=1e-12, atol=1e-12)
    back = translate(name, name, found.values, "times_lr")
    assert back.values["weight_decay"] == pytest.approx(0.3)


def test_a_decoupled_decay_stays_one():
    found = translate("adamw", "lion", {"lr": 1e-3, "weight_decay": 1e-4, "weight_decay_form": "decoupled"})
    assert (found.values["weight_decay_form"], found.values["weight_decay"]) == ("decoupled", 1e-4)
    assert list(found.ranges) == ["lr"]
    other = translate("adamw", "lion", {"lr": 1e-3, "weight_decay": 1e-4, "weight_decay_form": "decoupled"}, "times_lr")
    assert other.values["weight_decay"] * other.values["lr"] == pytest.approx(1e-4)


@pytest.mark.parametrize(("source", "target"), BOTH_WAYS)
@pytest.mark.parametrize(("lr", "decay", "form"), [(0.012345, 0.3, "times_lr"), (3e-5, 1e-6, "decoupled")])
@pytest.mark.parametrize("switch", [False, True])
def test_there_and_back_again(source, target, lr, decay, form, switch):
    setting = {"lr": lr, "weight_decay": decay, "weight_decay_form": form, "cautious": switch, "maximize": switch}
    there = values(source, target, **setting)
    assert (there["cautious"], there["maximize"]) == (switch, switch)
    back = values(target, source, **there)
    assert (back["lr"], back["weight_decay"]) == (pytest.approx(lr, rel=1e-5), pytest.approx(decay, rel=1e-5))
    assert (back["weight_decay_form"], back["cautious"], back["maximize"]) == (form, switch, switch)


# --- the way, and the command line


def test_the_way_is_the_shortest_and_each_step_begins_where_the_last_one_ended():
    assert way("adam", "adam") == []
    path = way("nadam", "schedule_free_adamw")
    assert [one.target for one in path] == ["adam", "adamw", "schedule_free_adamw"]
    assert all(a.target == b.source for a, b in pairwise(path))
    found = translate("sgd", "schedule_free_sgd", {"lr": 0.1})
    assert found.ranges == {"lr": (0.1, 0.5)}


def test_ranges_of_several_steps_multiply():
    found = translate("lion", "adan", {"lr": 1e-4})
    assert found.ranges["lr"] == (1.5e-3, 1e-2)


@pytest.mark.parametrize("rule", RULES, ids=lambda one: f"{one.source}-{one.target}")
def test_every_rule_says_what_it_does_and_who_says_so_and_its_command_is_a_configuration(rule):
    assert rule.text.endswith(".")
    assert any(year in rule.citation for year in map(str, range(1960, 2027)))
    found = translate(rule.source, rule.target, {"weight_decay": 0.0})
    cfg = compose(shlex.split(found.command))
    check(cfg)
    assert cfg.choices.optimizer == rule.target
    assert {key: value for key, value in cfg.optimizer.items() if not key.startswith("_")} == found.values
    for key, (low, high) in found.ranges.items():
        assert low < high
        assert low <= found.values[key] <= high


def test_the_command_prints_rules_ranges_and_the_setting(capsys):
    assert main(["translate", "from=adamw", "to=lion", "optimizer.lr=3e-4", "weight_decay=0.1", "eps=1e-6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "adamw -> lion: Learning rate 3 to 10 times smaller, weight_decay as many times larger, betas (0.9, 0.99).",
        "  Chen et al. 2023, arXiv:2302.06675, Section 5",
        "optimizer=lion has no eps.",
        "optimizer.lr from 3e-05 to 0.0001",
        "optimizer.weight_decay from 0.3 to 1",
        "",
        "optimizer=lion optimizer.lr=6e-05 'optimizer.betas=[0.9,0.99]' optimizer.weight_decay=0.5 "
        "optimizer.weight_decay_form=times_lr optimizer.cautious=false optimizer.maximize=false",
    ]
    assert main(["translate", "--help"]) == 0
    assert "  adamw         to " in capsys.readouterr().out


L2 = "weight_decay=0.1 is an L2 penalty here"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "from is missing; allowed is from=NAME with the name of an optimizer."),
        ("from=adam", "to is missing; allowed is to=NAME with the name of an optimizer."),
        ("from=adamm to=lion", "from=adamm is unknown; did you mean adam, "),
        ("from=adam to=lio", "to=lio is unknown; did you mean lion? allowed are adabelief, "),
        ("from=adam to=3", "to='3' is unknown;"),
        ("from=adam to=lion lrr=1", "lrr is unknown; did you mean lr? optimizer=adam has lr, betas, eps, "),
        ("from=adam to=lion momentum=1", "momentum is unknown; optimizer=adam has lr, betas"),
        ("from=adam to=lion lr=fast", "lr=fast is not possible; allowed is a number above 0."),
        ("from=adam to=lion lr=0", "lr=0 is not possible; allowed is a number above 0."),
        ("from=adam to=lion lr=-1", "lr=-1 is not possible; allowed is a number above 0."),
        ("from=adam to=lion lr=null", "lr=null is not possible; allowed is a number above 0."),
        ("from=adam to=lion lr=true", "lr=true is not possible; allowed is a number above 0."),
        ("from=adam to=lion lr=nan", "lr=nan is not possible"),
        ("from=adam to=lion lr=inf", "lr=inf is not possible"),
        ("from=adam to=lion weight_decay=-1", "weight_decay=-1 is not possible; allowed is a number of 0 or more."),
        ("from=sgd_momentum to=sgd momentum=1", "momentum=1 is not possible; allowed is a number from 0 to below 1."),
        ("from=adam to=lion betas=0.9", "betas=0.9 is not possible; allowed is a list of 2 numbers from 0 to below 1."),
        ("from=adam to=lion betas=[0.9]", "betas=[0.9] is not possible; allowed is a list of 2 numbers"),
        ("from=adam to=lion betas=[0.9,1]", "betas=[0.9, 1] is not possible; allowed is a list of 2 numbers"),
        ("from=adam to=lion maximize=1", "maximize=1 is not possible; allowed is true or false."),
        ("from=adam to=lion weight_decay_form=L2", "weight_decay_form=L2 is not possible; allowed is l2, times_lr or"),
        ("from=adam to=lion decay_form=l2", "decay_form=l2 is unknown; allowed are times_lr, decoupled."),
        ("from=adam to=adamw weight_decay=0.1", f"{L2}, which the adaptive scaling makes another one for every weight"),
        ("from=nadam to=lion weight_decay=0.1", L2),
        ("from=adamw to=soap weight_decay=0.1 weight_decay_form=l2", L2),
        (
            "from=sgd to=nesterov weight_decay=0.1 decay_form=decoupled",
            "decay_form=decoupled is not possible for weight_decay=0.1, which is an L2 penalty",
        ),
        ("from=muon to=adamw adjust_lr=original", "adjust_lr=original has no counterpart in adamw"),
        (
            "from=adamw to=kfac",
            "from=adamw to=kfac has no published rule (from adamw rules lead to adam, ",
        ),
        ("from=sgd to=adamw", "conf/search/adamw.yaml is the space to tune it in, lr from 1e-05 to 0.01."),
        ("from=kfac to=amsgrad", "has no published rule (there is none from kfac); optimizer=amsgrad has to be tuned."),
        ("from=torch to=adam", "from=torch to=adam has no published rule (there is none from torch);"),
        ("from=adam to=prodigy-x", "to=prodigy-x is unknown; did you mean prodigy?"),
        ("from=adam,sgd to=lion", "from=adam,sgd is not possible; allowed is a single value."),
        ("from=adam to=lion lr", "lr is not possible; allowed is key=value, such as from=adamw to=lion lr=3e-4."),
        ("from=adam to=lion from=adamw", "from is given twice; allowed is once."),
        ("from=adam to=lion +lr=1", "+lr=1 is not possible; allowed is key=value"),
        ("from=adam to=lion --lr=1", "--lr=1 is not possible; allowed is key=value"),
        ("from=adam to=lion =1", "=1 is not possible; allowed is key=value"),
        ("from=adafactor to=lion beta2_decay=x", "beta2_decay=x is not possible; allowed is a number."),
        ("from=adafactor to=adam beta2_decay=-0.7", "from=adafactor to=adam has no published rule"),
        ("from=adam to=lion lr=[1", "lr=[1 cannot be read ("),
    ],
)
def test_bad_input_is_one_sentence_with_exit_code_2(words, said, capsys):
    assert main(["translate", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("steepest: ")
    assert said in line


def test_an_l2_penalty_of_nothing_translates():
    assert values("adam", "adamw", weight_decay=0.0)["weight_decay_form"] == "times_lr"
    with pytest.raises(ConfigError):
        values("adam", "adamw", weight_decay=1e-9)


@pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the checkout's scripts")
def test_the_script_answers_without_torch():
    command = [sys.executable, "-X", "importtime", SCRIPT, "from=lion", "to=adan"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1].startswith("optimizer=adan optimizer.lr=")
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "steepest.search" in modules
    assert not modules & {"torch", "pytorch_lightning", "numpy", "scipy", "wandb"}
    assert not list(Path().iterdir())
