"""Parameters to their optimizers, learning rates and decays."""

import copy
import io
import json

import pytest
import torch
from contract import NODES, TARGETS, make, parameters, set_gradients
from torch import nn

from steepest.build import build
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.models.vit import ViT
from steepest.optimizers.adamw import AdamW
from steepest.optimizers.composite import Composite
from steepest.optimizers.kfac import KFAC
from steepest.optimizers.lbfgs import LBFGS
from steepest.optimizers.muon import Muon
from steepest.optimizers.rule import Rule
from steepest.optimizers.schedule_free_sgd import ScheduleFreeSGD
from steepest.optimizers.sgd import SGD
from steepest.optimizers.sgd_momentum import SGDMomentum
from steepest.routing.assignment import as_csv, assignment, show, summary
from steepest.routing.kinds import kinds
from steepest.routing.routes import Route, Routing


class Net(nn.Module):
    """A parameter of every kind."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.pos_embedding = nn.Parameter(torch.zeros(3, 4))
        self.conv = nn.Conv1d(4, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.attention = nn.MultiheadAttention(4, 2)
        self.recurrent = nn.LSTM(4, 4)
        self.scale = nn.Parameter(torch.ones(4))
        self.token_mixer = nn.Parameter(torch.ones(4, 4))
        self.position = nn.Parameter(torch.ones(()))
        self.temperature = nn.Parameter(torch.ones(()))
        self.head = nn.Linear(4, 7)
        self.head.weight = self.table.weight  # tied: it counts once, where it comes first


def partial(name, **changed):
    return build(compose([f"optimizer={name}"]).optimizer, **changed)


def names(optimizer, module):
    """Of each group, the names of its parameters."""
    name_of = {p: name for name, p in module.named_parameters()}
    return [[name_of[p] for p in group["params"]] for group in optimizer.param_groups]


def test_kinds():
    found = kinds(Net())
    assert found["table.weight"] == found["pos_embedding"] == "embedding"
    assert found["norm.weight"] == found["norm.bias"] == "norm"
    assert found["conv.bias"] == found["attention.in_proj_bias"] == found["recurrent.bias_ih_l0"] == "bias"
    assert found["conv.weight"] == found["attention.out_proj.weight"] == found["recurrent.weight_hh_l0"] == "matrix"
    assert found["scale"] == found["temperature"] == found["position"] == "other"
    assert found["token_mixer"] == "matrix"
    assert "head.weight" not in found
    assert found.keys() == dict(Net().named_parameters()).keys()
    assert set(kinds(nn.BatchNorm2d(3)).values()) == {"norm"}


def test_one_optimizer_takes_all_parameters_in_their_order():
    module = Net()
    optimizer = Routing(partial("adam"))(module)
    assert [*optimizer.param_groups[0]["params"]] == [*module.parameters()]
    assert len(optimizer.param_groups) == 1


def test_routes_by_kinds_patterns_and_exceptions():
    module = Net()
    routes = {
        "matrices": Route(kinds=["matrix"], exclude=["recurrent.*"], optimizer=partial("muon")),
        "recurrent": Route(patterns=["recurrent.*"], lr_multiple=0.5, weight_decay=0.0),
        "rest": Route(kinds=["embedding", "norm", "other", "bias"], exclude=["recurrent.*"]),
    }
    optimizer = Routing(partial("adamw", lr=0.01), routes)(module)
    assert isinstance(optimizer, Composite)
    matrices, recurrent, rest = names(optimizer, module)
    assert matrices == ["token_mixer", "conv.weight", "attention.in_proj_weight", "attention.out_proj.weight"]
    assert recurrent == [f"recurrent.{name}" for name, _ in module.recurrent.named_parameters()]
    assert sorted(matrices + recurrent + rest) == sorted(dict(module.named_parameters()))
    assert [group["lr"] for group in optimizer.param_groups] == [3e-3, 0.005, 0.01]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0, 0.01]
    assert [type(part) for part in optimizer.parts] == [Muon, AdamW]


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ({"a": Route(kinds=["matrix"])}, r"routing leaves out the parameter pos_embedding \(kind embedding\)"),
        (
            {"a": Route(patterns=["*"]), "b": Route(patterns=["head.*"])},
            r"routing\.a and routing\.b take the same parameter head\.bias \(kind bias\)",
        ),
    ],
)
def test_every_parameter_needs_exactly_one_route(routes, said):
    with pytest.raises(ConfigError, match=said):
        Routing(partial("adam"), routes)(Net())


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (
            "patterns",
            r"routing\.b\.patterns=\[tabel\.\*\] fits the name of no parameter; allowed are patterns such as table\.",
        ),
        ("exclude", r"routing\.b\.exclude=\[tabel\.\*\] fits the name of no parameter"),
    ],
)
def test_a_pattern_that_nothing_fits_is_a_mistake(key, said):
    routes = {"a": Route(patterns=["*"]), "b": Route(**{"kinds": [], key: ["tabel.*"]})}
    with pytest.raises(ConfigError, match=said):
        Routing(partial("adam"), routes)(Net())


def test_anothers_optimizer_keeps_the_dtypes_of_its_state():
    """torch's NAdam alone would load its float32 product of momenta as bfloat16."""
    params = parameters(torch.bfloat16, shapes=[(3, 2), (2,)])
    module = nn.ParameterList(params)
    optimizer = Routing(partial("torch"))(module)
    steps(optimizer, params, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer.load_state_dict(copy.deepcopy(saved))
    for i, p in enumerate(params):
        for key, value in saved["state"][i].items():
            assert optimizer.state[p][key].dtype == value.dtype
            assert torch.equal(optimizer.state[p][key], value)


def test_a_transformers_norms_and_biases_are_not_decayed_unless_asked_for():
    vit = ViT(input_shape=(1, 8, 8), num_classes=10, dim=8, depth=1, heads=2)
    free = {name for name, kind in kinds(vit).items() if kind in ("norm", "bias")}
    decayed, undecayed = Routing(partial("adamw"))(vit).param_groups
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.01, 0.0)
    name_of = {p: name for name, p in vit.named_parameters()}
    assert {name_of[p] for p in undecayed["params"]} == free
    assert len(Routing(partial("adam"))(vit).param_groups) == 1  # nothing is decayed
    assert len(Routing(partial("adamw"), {"all": Route(patterns=["*"])})(vit).param_groups) == 1
    assert len(Routing(partial("adamw"))(Net()).param_groups) == 1  # no transformer


def test_embeddings_take_the_element_rule_of_an_optimizer_for_matrices():
    module = Net()
    optimizer = Routing(partial("muon"))(module)
    tables, others = names(optimizer, module)
    assert tables == ["pos_embedding", "table.weight"]
    rules = {row.name: row.rule for row in assignment(optimizer, module)}
    assert rules["table.weight"] == rules["norm.weight"] == rules["temperature"] == "element"
    assert rules["conv.weight"] == rules["recurrent.weight_hh_l0"] == "matrix"
    assert "matrix" not in {rules[name] for name in tables}
    assert len(others) + 2 == len(dict(module.named_parameters()))


def test_an_optimizer_for_layers_is_given_them():
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    optimizer = Routing(partial("kfac"))(module)
    assert isinstance(optimizer, KFAC)
    assert [row.rule for row in assignment(optimizer, module)] == ["matrix", "matrix", "element", "element"]
    routes = {"a": Route(kinds=["matrix"]), "b": Route(kinds=["norm", "bias"], optimizer=partial("sgd"))}
    both = Routing(partial("kfac"), routes)(module)
    assert [type(part) for part in both.parts] == [KFAC, SGD]
    both.close()


def test_an_optimizer_of_all_parameters_at_once_is_not_one_of_several():
    routes = {"a": Route(kinds=["matrix"]), "b": Route(kinds=["bias"], optimizer=partial("sgd"))}
    with pytest.raises(ConfigError, match="LBFGS moves all parameters at once and cannot be one of several optimizers"):
        Routing(partial("lbfgs"), routes)(nn.Linear(2, 2))
    routes = {"a": Route(kinds=["matrix"], lr_multiple=2.0), "b": Route(kinds=["bias"])}
    with pytest.raises(ConfigError, match=r"optimizer\.lr"):
        Routing(partial("lbfgs"), routes)(nn.Linear(2, 2))
    decays = {"a": Route(kinds=["matrix"], weight_decay=0.1), "b": Route(kinds=["bias"])}
    assert isinstance(Routing(partial("lbfgs"), decays)(nn.Linear(2, 2)), LBFGS)


def test_the_table_says_who_trains_what(capsys):
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    routes = {"a": Route(kinds=["matrix"]), "b": Route(kinds=["bias", "norm"], optimizer=partial("adam"))}
    rows = assignment(Routing(partial("sgd"), routes)(module), module)
    assert as_csv(rows).splitlines()[:2] == [
        "name,shape,entries,kind,optimizer,rule,lr,weight_decay",
        "0.weight,2 x 3,6,matrix,SGD,,0.1,0.0",
    ]
    first, second = summary(rows)
    assert (first["optimizer"], first["tensors"], first["entries"], first["example"]) == ("SGD", 1, 6, "0.weight")
    assert (second["kinds"], second["tensors"], second["entries"]) == ("bias, norm", 3, 6)
    show(rows)
    printed = capsys.readouterr().out
    assert "SGD" in printed
    assert "bias, norm" in printed
    assert "rule" not in printed  # no optimizer here has two
    show(rows[:1])
    assert capsys.readouterr().out == ""  # all alike


@pytest.mark.parametrize("name", [name for name in NODES if issubclass(TARGETS[name], Rule)])
@pytest.mark.parametrize("own", [{"lr": -1.0}, {"weight_decay_form": "foo"}, {"weight_decay": -1.0}])
def test_the_values_of_a_group_are_checked_as_the_constructors_are(name, own):
    params = parameters(shapes=[(3,), (2, 2)])
    [key] = own
    with pytest.raises(ConfigError, match=rf"optimizer\.{key}"):
        make(name, [{"params": params[:1]}, {"params": params[1:], **own}])
    optimizer = make(name, params[:1])
    with pytest.raises(ConfigError, match=rf"optimizer\.{key}"):
        optimizer.add_param_group({"params": params[1:], **own})


# --- the composite optimizer


def composite(a, b):
    return Composite([SGDMomentum([a], lr=0.1), AdamW([b], lr=0.02)])


def steps(optimizer, params, count, start=0):
    for t in range(start, start + count):
        set_gradients(params, t)
        optimizer.step()


def test_several_optimizers_move_as_each_would_alone():
    a, b = parameters(shapes=[(3,), (2, 2)])
    alone_a, alone_b = parameters(shapes=[(3,), (2, 2)])
    together = composite(a, b)
    first, second = SGDMomentum([alone_a], lr=0.1), AdamW([alone_b], lr=0.02)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(together, 0.5)
    for t in range(4):
        set_gradients([a, b], t)
        set_gradients([alone_a, alone_b], t)
        together.step()
        first.step()
        second.step()
        scheduler.step()
        for other in (first, second):
            other.param_groups[0]["lr"] *= 0.5
    assert torch.equal(a, alone_a)
    assert torch.equal(b, alone_b)


def test_one_state_dict_goes_through_a_file():
    straight = parameters(torch.bfloat16, shapes=[(3,), (2, 2)])
    steps(whole := composite(*straight), straight, 6)
    cut = parameters(torch.bfloat16, shapes=[(3,), (2, 2)])
    steps(first := composite(*cut), cut, 3)
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "params": [p.detach() for p in cut]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = [nn.Parameter(p.clone()) for p in saved["params"]]
    second = composite(*resumed)
    second.load_state_dict(saved["optimizer"])
    steps(second, resumed, 3, start=3)
    for a, b in zip(resumed, straight, strict=True):
        assert torch.equal(a, b)
        for key, value in whole.state[b].items():
            assert not isinstance(value, torch.Tensor) or value.dtype == second.state[a][key].dtype == torch.float32


def test_loaded_groups_are_those_of_the_parts():
    a, b = parameters(shapes=[(3,), (2, 2)])
    optimizer = composite(a, b)
    steps(optimizer, [a, b], 1)
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.param_groups[1]["lr"] = 0.0
    optimizer.param_groups[1]["weight_decay"] = 0.0
    before = b.detach().clone()
    steps(optimizer, [a, b], 1, start=1)
    assert torch.equal(b, before)
    assert optimizer.parts[1].state is optimizer.state


def test_a_copy_goes_on_alike_with_groups_of_its_own():
    params = parameters(shapes=[(3,), (2, 2)])
    optimizer = composite(*params)
    steps(optimizer, params, 2)
    copied, copies = copy.deepcopy((optimizer, params))
    steps(optimizer, params, 2, start=2)
    steps(copied, copies, 2, start=2)
    assert all(map(torch.equal, params, copies))
    assert copied.parts[0].param_groups[0] is copied.param_groups[0] is not optimizer.param_groups[0]


def test_a_composite_takes_no_group_later():
    a, b, c = parameters(shapes=[(3,), (2,), (1,)])
    with pytest.raises(RuntimeError, match="cannot take another group"):
        composite(a, b).add_param_group({"params": [c]})


def test_parts_with_weights_to_evaluate_are_swapped_and_others_left():
    a, b = parameters(shapes=[(3,), (2,)])
    optimizer = Composite([ScheduleFreeSGD([a], lr=0.1), SGD([b], lr=0.1)])
    assert optimizer.evaluates_elsewhere
    assert not composite(*parameters(shapes=[(3,), (2,)])).evaluates_elsewhere
    steps(optimizer, [a, b], 4)
    trained = a.detach().clone(), b.detach().clone()
    optimizer.eval()
    assert not torch.equal(a, trained[0])
    assert torch.equal(b, trained[1])
    optimizer.train()
    assert torch.equal(a, trained[0])


def test_a_closure_runs_once_and_gives_the_loss():
    a, b = parameters(shapes=[(3,), (2,)])
    optimizer, calls = composite(a, b), []

    def closure():
        optimizer.zero_grad()
        loss = (a**2).sum() + (b**2).sum()
        loss.backward()
        calls.append(loss.item())
        return loss

    assert [optimizer.step(closure).item()] == calls


def test_the_routes_of_a_run_come_from_its_configuration():
    cfg = compose(["routing=matrices", "optimizer=muon", "optimizer@routing.rest.optimizer=lion"])
    from steepest.assemble import routing

    module = Net()
    optimizer = routing(cfg, 2.0)(module)
    assert [type(part).__name__ for part in optimizer.parts] == ["Muon", "Lion"]
    assert [part.param_groups[0]["lr"] for part in optimizer.parts] == [6e-3, 2e-4]  # both scaled for the batch
    json.dumps(summary(assignment(optimizer, module)))
