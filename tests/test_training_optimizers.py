"""Optimizers at work: under Lightning from the command line's configuration, on two ranks, on compiled models."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from contract import NODES, NOT_APPLICABLE, REACH, TARGETS, contract, make
from torch import nn
from torch.distributed.fsdp import fully_shard

from steepest.assemble import assemble
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.runs.folder import RunFolder
from steepest.train import train

QUIET = ["callbacks=none", "logger=none", "threads=1"]
CLOSURE = [name for name in NODES if REACH[name] == "closure"]


def digits(name, *words):
    """The folder of a run of a small network on the digits."""
    small = ["model=mlp", "batch.size=128", "budget={steps:200,epochs:null}", "validation.every=1.0"]
    value = train(compose([f"optimizer={name}", *small, *QUIET, *words]))
    [path] = Path("runs").iterdir()
    return value, RunFolder(path)


SLOW_DEFAULTS = {
    "lars": ["optimizer.lr=10"],  # its trust coefficient of 0.001 is for long runs of large batches
    "coordinate_descent": ["optimizer.lr=1.0"],
    "lion": ["optimizer.lr=3e-4"],
    "mirror_descent": ["optimizer.lr=0.3"],
    "radam": ["optimizer.lr=3e-3"],
}
"""Optimizers whose defaults are for longer runs than these."""


@contract("trains under Lightning")
def test_learns_the_digits(name):
    steps = 20 if REACH[name] == "closure" else 200
    value, folder = digits(name, *SLOW_DEFAULTS.get(name, []), f"budget.steps={steps}")
    assert folder.status["status"] == "finished"
    assert folder.summary["opt_steps"] == steps
    evaluations = folder.summary["grad_evals"]
    assert evaluations > steps if REACH[name] == "closure" else evaluations == steps
    assert value > 0.8


def test_a_closure_sees_one_function_however_often_it_evaluates():
    """Dropout and batch normalisation: with another mask in every evaluation no line search could end."""
    value, folder = digits("lbfgs", "model.batch_norm=true", "model.dropout=0.3", "budget.steps=20")
    assert value > 0.5
    assert 40 < folder.summary["grad_evals"] < 100
    state = torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]
    [batches] = {int(value) for name, value in state.items() if name.endswith("num_batches_tracked")}
    assert batches == 20  # running statistics move once a step


@pytest.mark.parametrize("name", ["lbfgs", "natural_gradient"])
def test_the_loss_is_evaluated_in_the_precision_of_the_run(name, monkeypatch):
    seen = set()
    of_torch = nn.functional.linear

    def linear(*args):
        y = of_torch(*args)
        if y.device.type == "cpu":  # not the rehearsal of shapes
            seen.add((y.dtype, torch.is_grad_enabled()))
        return y

    monkeypatch.setattr(nn.functional, "linear", linear)
    digits(name, "precision=bf16_mixed", "budget.steps=3")
    assert {dtype for dtype, training in seen if training} == {torch.bfloat16}


@pytest.mark.parametrize("name", CLOSURE)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["clip.norm=1.0"], "clip.norm=1; allowed is null"),
        (["clip.value=0.5"], "clip.value=0.5; allowed is null"),
        (["batch=large"], "the 8 micro-batches of batch.micro_size=128"),
        (["trainer=ddp_cpu"], "2 devices"),
    ],
)
def test_what_an_optimizer_that_evaluates_the_loss_cannot_do_is_refused(name, words, said):
    cfg = compose([f"optimizer={name}", "model=mlp", *words, *QUIET])
    settle(cfg)
    with pytest.raises(ConfigError) as caught:
        assemble(cfg)
    assert str(caught.value).startswith(f"optimizer={name} evaluates the loss several times a step")
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["schedule_free_adamw", "kfac", "adafactor", "prodigy"])
def test_sharded_parameters_are_refused_where_whole_ones_are_needed(name):
    """Alone, and as a part of a composite optimizer."""
    for routing in ("auto", "matrices"):
        words = [f"optimizer={name}", f"routing={routing}", "trainer=fsdp2", "trainer.accelerator=cpu"]
        cfg = compose(["model=mlp", *words, *QUIET])
        settle(cfg)
        with pytest.raises(ConfigError, match="needs whole parameters, which trainer=fsdp2 shards"):
            assemble(cfg)


@pytest.mark.parametrize("name", ["newton", "natural_gradient"])
def test_second_derivatives_go_through_attention(name):
    value, folder = digits(name, "model=vit", "model.dim=8", "model.depth=1", "model.heads=2", "budget.steps=2")
    assert folder.status["status"] == "finished"
    assert 0 <= value <= 1


# --- two ranks

PARALLEL = [name for name in NODES if name not in NOT_APPLICABLE["data-parallel"]]
SHARDED = [name for name in PARALLEL if TARGETS[name].takes_shards and not TARGETS[name].evaluates_elsewhere]
RANK = """
import sys, torch, torch.distributed as dist
sys.path.insert(0, sys.argv[4])
from contract import make
from test_training_optimizers import PARALLEL, SHARDED, fitted
rank, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
found = {name: fitted(name, rank) for name in PARALLEL}
sharded = {name: fitted(name, rank, shard=True) for name in SHARDED}
if rank == 0:
    torch.save({"parallel": found, "sharded": sharded}, out)
dist.destroy_process_group()
"""


def network():
    torch.manual_seed(0)
    # Square layers, whose gradients have full rank: only then SOAP's first basis does not hang on a rounding error.
    return nn.Sequential(nn.Linear(5, 5), nn.PReLU(5), nn.Linear(5, 5)).double()


def fitted(name, rank=None, shard=False):
    """Weights after a few steps; with a rank, of a data-parallel or sharded network that sees half of each batch."""
    model = fully_shard(network()) if shard else network()
    changed = {"module": model} if REACH[name] == "module" else {}
    if name == "muon":
        changed["ns_dtype"] = "float64"  # its bfloat16 would round sums in another order to other numbers
    optimizer = make(name, model.parameters(), **changed)
    parallel = model if rank is None or shard else nn.parallel.DistributedDataParallel(model)
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        x = torch.randn(16, 5, generator=generator, dtype=torch.float64)
        y = torch.randn(16, 5, generator=generator, dtype=torch.float64)
        if rank is not None:
            x, y = x[8 * rank : 8 * rank + 8], y[8 * rank : 8 * rank + 8]
        optimizer.zero_grad()
        nn.functional.mse_loss(parallel(x), y).backward()
        optimizer.step()
    return [(p.full_tensor() if shard else p).detach().clone() for p in model.parameters()]


@pytest.mark.contract("data-parallel", *PARALLEL)
def test_two_ranks_equal_one_with_the_joint_batch(tmp_path):
    """As copies of the network (DDP), and, where the formula holds on shards, as halves of it (FSDP2)."""
    here, store, out = str(Path(__file__).parent), str(tmp_path / "store"), str(tmp_path / "weights")
    command = [sys.executable, "-c", RANK]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [subprocess.Popen([*command, str(rank), store, out, here], env=environment) for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    found = torch.load(out, weights_only=True)
    apart = {}
    for way, weights in found.items():
        for name, trained in weights.items():
            difference = max((a - b).abs().max().item() for a, b in zip(trained, fitted(name), strict=True))
            if not difference < 1e-9:  # sums in another order, through a few steps that divide by small numbers
                apart[way, name] = difference
    assert found["sharded"].keys() >= {"adamw", "lamb", "lars", "muon", "shampoo", "soap"}
    assert not apart


# --- compiled models

COMPILED = [name for name in NODES if name not in NOT_APPLICABLE["compiled model"]]


@pytest.mark.contract("compiled model", *COMPILED)
def test_a_compiled_model_trains_as_the_model_does():
    torch.compiler.reset()
    model = network()
    start = copy.deepcopy(model.state_dict())
    model.compile()
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(16, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    apart = {}
    for name in COMPILED:
        ends = []
        for trained in (model, network()):
            trained.load_state_dict(start)
            optimizer = make(name, trained.parameters(), **({"module": trained} if REACH[name] == "module" else {}))
            for _ in range(3):

                def closure(trained=trained, optimizer=optimizer):
                    optimizer.zero_grad()
                    loss = nn.functional.mse_loss(trained(x), y)
                    loss.backward()
                    return loss

                optimizer.step(closure)
            ends.append(nn.utils.parameters_to_vector(trained.parameters()).detach())
        difference = (ends[0] - ends[1]).abs().max().item()
        if not difference < 1e-9:
            apart[name] = difference
    assert not apart


def test_the_groups_of_a_run_are_on_record():
    _, folder = digits("muon", "model.hidden=[16]", "budget.steps=2")
    path = folder.path
    lines = (path / "parameters.csv").read_text().splitlines()
    assert lines[0] == "name,shape,entries,kind,optimizer,rule,lr,weight_decay"
    assert len(lines) == 5
    groups = json.loads((path / "summary.json").read_text())["parameter_groups"]
    assert {(group["rule"], group["kinds"]) for group in groups} == {("matrix", "matrix"), ("element", "bias")}
    assert TARGETS["muon"].__name__ == groups[0]["optimizer"]
