"""What is measured of a step, against sums by hand, known noise, known Hessians, and runs without it."""

import copy
import inspect
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import differences, timeless
from killing import run as killed
from omegaconf import OmegaConf
from torch import nn
from torch.func import functional_call

from steepest.callbacks import diagnostics as module
from steepest.callbacks.aside import aside
from steepest.callbacks.curvature import top_eigenvalue
from steepest.callbacks.diagnostics import Diagnostics
from steepest.callbacks.layers import depth_ratio, layer_values
from steepest.callbacks.moves import Moves
from steepest.callbacks.noise_scale import MicroBatches, NoiseScale, estimates, from_halves, halves
from steepest.config import compose, conf_dir
from steepest.errors import ConfigError
from steepest.launchers.machine import cores
from steepest.optimizers.sgd import SGD
from steepest.runs.folder import RunFolder
from steepest.train import train

TWO = pytest.mark.skipif(cores() < 2, reason="two ranks need two cores")
QUICK = ["threads=1", "logger=none", "callbacks=none"]
NODE = "+callbacks.diagnostics={_target_: steepest.callbacks.diagnostics.Diagnostics, every: 2}"
seeds = st.integers(0, 2**31)


# --- layers ---


def stepped(module, optimizer, loss, times=1):
    """What a step is measured to have done, the last of several."""
    for _ in range(times):
        optimizer.zero_grad()
        loss(module).backward()
        moves = Moves(gradients=True)
        moves.look(optimizer)
        optimizer.step()
    return layer_values(moves.kept, {p: name for name, p in module.named_parameters()})


def regression(module):
    x = torch.linspace(-1, 1, 12).reshape(4, 3)
    return ((module(x) - x.sum(1, keepdim=True) ** 2) ** 2).mean()


def test_plain_gradient_descent_goes_down_the_gradient():
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    before = {name: p.detach().clone().double() for name, p in module.named_parameters()}
    found = stepped(module, torch.optim.SGD(module.parameters(), lr=0.1), regression)
    measures = ("grad_rms", "weight_rms", "update_rms", "update_ratio", "cosine")
    assert list(found)[:5] == [f"layers/weight/{measure}" for measure in measures]
    for name, p in module.named_parameters():
        gradient, place = p.grad.double(), f"layers/{name}"
        rms = math.sqrt(float((gradient**2).mean()))
        size = math.sqrt(float((before[name] ** 2).mean()))
        assert found[f"{place}/grad_rms"] == pytest.approx(rms, rel=1e-6)
        assert found[f"{place}/weight_rms"] == pytest.approx(size, rel=1e-6)
        assert found[f"{place}/update_rms"] == pytest.approx(0.1 * rms, rel=1e-5)
        assert found[f"{place}/update_ratio"] == pytest.approx(0.1 * rms / size, rel=1e-5)
        assert found[f"{place}/cosine"] == pytest.approx(1, abs=1e-6)
    assert found["train/update_cosine"] == pytest.approx(1, abs=1e-6)


def test_the_cosine_of_momentum_is_that_of_its_velocity():
    torch.manual_seed(0)
    module = nn.Linear(3, 1).double()
    module.double()
    x = torch.linspace(-1, 1, 12).double().reshape(4, 3)

    def loss(m):
        return ((m(x) - 1) ** 2).mean()

    twin = copy.deepcopy(module)
    first = [torch.autograd.grad(loss(twin), [*twin.parameters()])]
    with torch.no_grad():
        for p, g in zip(twin.parameters(), first[0], strict=True):
            p -= 0.5 * g
    second = torch.autograd.grad(loss(twin), [*twin.parameters()])
    g = torch.cat([part.flatten() for part in second])
    v = 0.9 * torch.cat([part.flatten() for part in first[0]]) + g
    found = stepped(module, torch.optim.SGD(module.parameters(), lr=0.5, momentum=0.9), loss, times=2)
    assert found["train/update_cosine"] == pytest.approx(float(v @ g / v.norm() / g.norm()), rel=1e-9)


@pytest.mark.parametrize("make", [SGD, torch.optim.SGD])
def test_sparse_gradients_are_measured_as_dense_ones(make):
    torch.manual_seed(0)
    tables = [nn.Embedding(7, 3, sparse=sparse) for sparse in (True, False)]
    tables[1].load_state_dict(tables[0].state_dict())
    words = torch.tensor([1, 4, 4, 2])
    found = [stepped(t, make(t.parameters(), lr=0.3), lambda m: (m(words) ** 2).sum(), times=2) for t in tables]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_layers_without_gradient_frozen_and_zero_ones_are_left_out_or_without_ratio():
    module = nn.ModuleDict({name: nn.Linear(3, 1, bias=False) for name in ("used", "unused", "frozen", "zero")})
    module["frozen"].weight.requires_grad_(False)
    nn.init.zeros_(module["zero"].weight)
    x = torch.ones(2, 3)
    loss = lambda m: (m["used"](x) + m["frozen"](x) + m["zero"](x)).sum()  # noqa: E731
    found = stepped(module, torch.optim.SGD(module.parameters(), lr=1.0), loss)
    assert {key.split("/")[1] for key in found if key.startswith("layers/")} == {"used.weight", "zero.weight"}
    assert "layers/zero.weight/update_ratio" not in found
    assert found["layers/zero.weight/weight_rms"] == 0.0
    assert found["layers/zero.weight/update_rms"] == pytest.approx(2.0)
    still = stepped(module, torch.optim.SGD(module.parameters(), lr=0.0), loss)
    assert "layers/used.weight/cosine" not in still
    assert "train/update_cosine" not in still


def test_bfloat16_is_measured_in_float32():
    module = nn.Linear(2, 1, bias=False).bfloat16()
    nn.init.ones_(module.weight)
    optimizer = torch.optim.SGD(module.parameters(), lr=1 / 128)
    found = stepped(module, optimizer, lambda m: m(torch.ones(1, 2).bfloat16()).sum())
    assert found["layers/weight/update_rms"] == pytest.approx(1 / 128)  # two steps of bfloat16 below 1


def test_the_depth_is_the_ratio_of_the_first_to_the_last_matrices():
    assert depth_ratio([1e-6, 1e-4, 1.0, 5.0, 1.0, 100.0]) == pytest.approx(1e-5 / 10)
    assert depth_ratio([1.0, 2.0]) is None
    assert depth_ratio([0.0, 1.0, 1.0]) == 0.0
    assert depth_ratio([1.0, 1.0, 0.0]) is None
    assert depth_ratio([1.0, math.nan, 1.0]) is None


# --- noise scale ---


class Mean(nn.Module):
    """The loss 1/2 mean |w - x|^2, whose gradient for one example is w - x."""

    def __init__(self, start):
        super().__init__()
        self.w = nn.Parameter(start.clone())

    def loss(self, batch):
        return 0.5 * ((self.w - batch[0]) ** 2).sum(1).mean()


DEVIATIONS = torch.tensor([1.0, 2.0, 0.5, 3.0])
G = torch.tensor([0.5, -1.0, 0.25, 2.0])
SQUARE, TRACE = float(G @ G), float(DEVIATIONS @ DEVIATIONS)


def draw(size, generator):
    """Examples whose gradients at w = G have mean G and covariance diag(DEVIATIONS^2)."""
    return (torch.randn(size, 4, generator=generator) * DEVIATIONS,)


def test_the_estimates_are_unbiased():
    generator = torch.Generator().manual_seed(0)
    task = Mean(G)
    by_halves = torch.tensor([from_halves(task, draw(17, generator)) for _ in range(2000)])
    by_micro = torch.tensor([accumulated(task, [draw(4, generator) for _ in range(6)]) for _ in range(700)])
    for found in (by_halves, by_micro):
        error = found.std(0) / len(found) ** 0.5
        assert ((found.mean(0) - torch.tensor([SQUARE, TRACE])).abs() < 4 * error).all()
        assert (error < torch.tensor([0.1 * SQUARE, 0.05 * TRACE])).all()  # else this would say nothing


def accumulated(task, batches, scale=1.0):
    """The estimates from micro-batches, as an optimizer step sees them."""
    micro = MicroBatches(task, len(batches))
    task.zero_grad()
    for batch in batches:
        (task.loss(batch) / len(batches) * scale).backward()
        micro.add(len(batch[0]), scale)
    for p in task.parameters():
        p.grad = None if p.grad is None else p.grad / scale
    return micro.estimates()


@given(seeds, st.integers(2, 5), st.integers(1, 6))
@settings(max_examples=15, deadline=None)
def test_the_estimates_are_the_papers_formula(seed, count, size):
    generator = torch.Generator().manual_seed(seed)
    task = Mean(G.double()).double()
    batches = [(draw(size, generator)[0].double(),) for _ in range(count)]
    gradients = torch.stack([G.double() - batch[0].mean(0) for batch in batches])
    small, big = float((gradients**2).sum(1).mean()), float((gradients.mean(0) ** 2).sum())
    expected = estimates(small, big, size, count * size)
    assert accumulated(task, batches) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert accumulated(task, batches, scale=1024.0) == pytest.approx(expected, rel=1e-5, abs=1e-6)
    if count == 2:
        joint = (torch.cat([batches[0][0], batches[1][0]]),)
        assert from_halves(task, joint) == pytest.approx(expected, rel=1e-5, abs=1e-6)
        assert expected[0] == pytest.approx(float(gradients[0] @ gradients[1]))


def test_sparse_and_unused_parameters_count():
    class Table(nn.Module):
        def __init__(self, sparse):
            super().__init__()
            torch.manual_seed(0)
            self.table, self.unused = nn.Embedding(9, 4, sparse=sparse), nn.Parameter(torch.ones(3))

        def loss(self, batch):
            return (self.table(batch[0]) ** 2).sum(-1).mean()

    batch = (torch.tensor([1, 2, 2, 5]),)
    assert from_halves(Table(True), batch) == pytest.approx(from_halves(Table(False), batch), rel=1e-5)
    tasks = [Table(True), Table(False)]
    for task in tasks:
        task.unused.requires_grad_(False)
    parts = [(torch.tensor([1, 2]),), (torch.tensor([2, 5]),), (torch.tensor([1, 1]),)]
    assert accumulated(tasks[0], parts) == pytest.approx(accumulated(tasks[1], parts), rel=1e-5)


def test_the_scale_is_the_ratio_of_the_means_of_the_last_measurements():
    noise = NoiseScale(last=3)
    assert noise.value is None
    for pair in [(1e9, 1e9), (1.0, 5.0), (-0.5, 10.0), (math.nan, 1.0), (1.0, 6.0)]:
        noise.add(*pair)
    assert noise.value == pytest.approx(21 / 1.5)
    noise.add(-9.0, 1.0)
    assert noise.value is None


@pytest.mark.parametrize(
    ("batch", "has"),
    [
        ((torch.ones(2, 3), torch.ones(2)), True),
        ((torch.ones(1, 0),), False),  # a turn of a task that makes its own data
        ((torch.ones(4), torch.ones(3)), False),
        ((torch.ones(4), torch.tensor(1.0)), False),
        ((torch.ones(4), "text"), False),
        ((), False),
        (torch.ones(4), False),
    ],
)
def test_batches_that_have_halves(batch, has):
    assert halves(batch) is has


# --- curvature ---


SPECTRA = [[5.0, 1.0, 0.1], [3.0, -7.0, 1.0], [-1.0, -2.0, -9.0], [0.0, 0.0, 0.0], [4.0, -3.9, 0.0]]


@given(seeds, st.sampled_from(SPECTRA))
@settings(max_examples=25, deadline=None)
def test_the_largest_eigenvalue_of_a_quadratic(seed, values):
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    matrix = q @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ q.T
    x = nn.Parameter(torch.randn(3, generator=generator, dtype=torch.float64))
    found = top_eigenvalue(lambda: 0.5 * x @ matrix @ x, [x], 2000, 1e-12, seed)
    assert found == pytest.approx(max(values), abs=1e-4)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inputs = nn.Linear(3, 3)

    def forward(self, x):
        q = self.inputs(x)
        return nn.functional.scaled_dot_product_attention(q, q, q).mean(1)


@pytest.mark.parametrize("make", [lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)), Attention])
def test_the_largest_eigenvalue_of_a_network(make):
    torch.manual_seed(0)
    module = make().double()
    x = torch.randn(6, 5, 3).double() if isinstance(module, Attention) else torch.randn(6, 3).double()
    names, params = zip(*module.named_parameters(), strict=True)

    def loss(*given_):
        return (functional_call(module, dict(zip(names, given_, strict=True)), x) ** 4).mean()

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        blocks = torch.autograd.functional.hessian(loss, params)
    sizes = [p.numel() for p in params]
    rows = [torch.cat([b.reshape(n, -1) for b in row], 1) for row, n in zip(blocks, sizes, strict=True)]
    expected = torch.linalg.eigvalsh(torch.cat(rows)).max()
    found = top_eigenvalue(lambda: loss(*params), params, 3000, 1e-12)
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_a_linear_loss_has_no_curvature():
    x, unused = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(2))
    assert top_eigenvalue(lambda: x.sum(), [x, unused]) == 0.0
    assert top_eigenvalue(lambda: (x**2).sum(), [x, unused]) == pytest.approx(2.0)


# --- runs ---


def run(*words, node=NODE, runs_dir="runs"):
    before = set(Path(runs_dir).glob("*"))
    train(compose([*QUICK, *words, f"paths.runs_dir={runs_dir}", *([node] if node else [])]))
    [path] = set(Path(runs_dir).glob("*")) - before
    return RunFolder(path.absolute())


def measured(folder):
    return [row for row in folder.rows() if any(key.startswith("layers/") for key in row)]


def other_content(folder):
    """All of a run but what the callback adds."""
    checkpoint = torch.load(folder.checkpoint("last"), weights_only=True)
    own = ("Diagnostics", "Recorder")  # the second knows the latest metrics
    callbacks = {name: state for name, state in checkpoint["callbacks"].items() if name not in own}
    added = {"train/initial_loss", "train/update_cosine"}
    rows = [row for row in timeless(folder.rows()) if not added & row.keys()]
    checkpoint["run"] = {key: value for key, value in checkpoint["run"].items() if key != "metrics_bytes"}
    return {"checkpoint": timeless({**checkpoint, "callbacks": callbacks}), "rows": rows}


FEW = ["budget={steps:6,epochs:null,examples:null}", "log.every=3", "validation.every=5"]
SHARP = NODE.replace("every: 2", "every: 2, sharpness: true, power_iterations: 3")
TINY = ["model.depth=1", "model.dim=16", "model.heads=2", "batch.size=16"]
RUNS = {
    "dropout": (["model=mlp", "model.dropout=0.3", "optimizer=adamw", "clip.norm=0.1"], SHARP),
    "accumulation": (["model=mlp", "model.batch_norm=true", "batch.size=64", "batch.micro_size=16"], SHARP),
    "full": (["model=mlp", "batch=full", "batch.micro_size=431", "dataset.crop_padding=1"], NODE),
    "attention": (["model=vit", *TINY, "model.dropout=0.1", "optimizer=adam"], SHARP),
    "recurrent": (["model=lstm"], SHARP),
    "kfac": (["model=mlp", "optimizer=kfac"], SHARP),
    "lbfgs": (["model=mlp", "model.dropout=0.2", "optimizer=lbfgs"], NODE),
    "schedule_free": (["model=mlp", "optimizer=schedule_free_adamw"], NODE),
    "routed": (["model=vit", *TINY, "optimizer=soap", "routing=matrices"], NODE),
    "bf16": (["model=mlp", "precision=bf16_mixed"], SHARP),
}


def assert_same_training(words, node):
    without, with_it = run(*FEW, *words, node=None, runs_dir="without"), run(*FEW, *words, node=node, runs_dir="with")
    assert "\n".join(differences(other_content(without), other_content(with_it))) == ""
    best = [torch.load(f.checkpoint("best"), weights_only=True)["state_dict"] for f in (without, with_it)]
    assert differences(*best) == []
    assert without.path.name == with_it.path.name  # it decides no result
    return with_it


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_the_same_with_it_and_without(name):
    words, node = RUNS[name]
    folder = assert_same_training(words, node)
    rows = measured(folder)
    assert [row["opt_step"] for row in rows] == [1, 2, 4, 6]
    log = folder.log_file.read_text()
    assert "is left out" not in log, log
    assert all({"train/grad_square", "train/grad_variance", "train/update_cosine"} <= row.keys() for row in rows)
    if node is SHARP:
        assert all(row["train/sharpness"] is not None for row in rows)
        [group, *_] = torch.load(folder.checkpoint("last"), weights_only=True)["optimizer_states"][0]["param_groups"]
        assert "train/sharpness_limit" not in rows[-1] or rows[-1]["train/sharpness_limit"] == 2 / group["lr"]
    assert "train/initial_loss" in rows[0]
    assert "train/initial_loss" in folder.summary["metrics"]
    assert not any(key.startswith("layers/") for key in folder.summary["metrics"])


DOMAINS = {
    "gan": ["dataset.validation_fraction=0.2", "batch.size=16", "model.width=4"],
    "rl": ["task.num_steps=8", "batch.size=16", "dataset.val_episodes=2", "dataset.test_episodes=2"],
    "rl_dqn": ["task.learning_starts=40", "batch.size=16", "dataset.val_episodes=2", "dataset.test_episodes=2"],
    "llm": ["batch.size=4", "batch.micro_size=2", "model.dim=16", "model.depth=1"],
    "sparse_embeddings": ["batch.size=64", "model.dim=8"],
    "objective": [],
}


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_has_its_layers(domain):
    words = [f"experiment={domain}", "schedule=constant", *DOMAINS[domain]]
    folder = assert_same_training(words, NODE)
    rows = measured(folder)
    assert [row["opt_step"] for row in rows] == [1, 2, 4, 6]
    state = torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]
    for row in rows:
        names = {key.split("/")[1] for key in row if key.startswith("layers/")}
        assert {f"model.{name}" for name in names} <= state.keys()
        if domain == "gan":  # both networks, each with its own optimizer
            assert {name.split(".")[0] for name in names} >= {"generator", "discriminator"}
    assert ("train/grad_variance" in rows[0]) == (domain in ("llm", "sparse_embeddings"))
    assert "is left out" not in folder.log_file.read_text()


def test_one_row_has_the_numbers_of_its_step():
    words = ["model=logistic", "optimizer=sgd", "schedule=constant", "checkpoint.every_steps=1", "checkpoint.keep=null"]
    folder = run(*FEW, *words)
    place = folder.path / "checkpoints"
    states = {}
    for file in place.glob("*.ckpt"):
        checkpoint = torch.load(file, weights_only=True)
        states[checkpoint["counters"]["opt_step"] if "counters" in checkpoint else -1] = checkpoint["state_dict"]
    lr = compose([*QUICK, *words]).optimizer.lr
    for row in measured(folder):
        step = row["opt_step"]
        if step - 1 not in states or step not in states:
            continue
        for name, after in states[step].items():
            if not name.startswith("model."):
                continue
            before, short = states[step - 1][name].double(), name.removeprefix("model.")
            update = math.sqrt(float(((after.double() - before) ** 2).mean()))
            assert row[f"layers/{short}/update_rms"] == pytest.approx(update, rel=1e-4)
            assert row[f"layers/{short}/weight_rms"] == pytest.approx(math.sqrt(float((before**2).mean())), rel=1e-4)
            assert row[f"layers/{short}/grad_rms"] == pytest.approx(update / lr, rel=1e-4)
            assert row[f"layers/{short}/cosine"] == pytest.approx(1, abs=1e-4)
    assert {2, 4, 6} <= {row["opt_step"] for row in measured(folder)}


@pytest.mark.parametrize(
    ("every", "steps"), [(100, [1, 20]), (0.25, [1, 5, 10, 15, 20]), ("'1 epochs'", [1, 10, 20]), (1.0, [1, 20])]
)
def test_the_steps_that_are_measured(every, steps):
    node = NODE.replace("every: 2", f"every: {every}")
    folder = run("model=logistic", "budget={steps:20,epochs:null}", "log.norms=false", node=node)
    assert [row["opt_step"] for row in measured(folder)] == steps


def test_by_default_it_measures_before_each_validation():
    node = compose(["threads=1"]).callbacks.diagnostics
    assert compose(["validation.every=7"]).callbacks.diagnostics.every == 7
    assert node.every == compose([]).validation.every == Diagnostics().every
    stated = OmegaConf.load(conf_dir() / "callbacks" / "default.yaml").diagnostics
    defaults = {key: p.default for key, p in inspect.signature(Diagnostics).parameters.items()}
    assert {key for key in stated if key != "_target_"} == defaults.keys()
    assert all(stated[key] == defaults[key] for key in defaults if key != "every")


@pytest.mark.parametrize("what", ["layers", "noise_scale"])
def test_what_is_switched_off_is_not_measured(what):
    folder = run(*FEW, "model=logistic", node=NODE.replace("every: 2", f"every: 2, {what}: false"))
    keys = set().union(*folder.rows())
    assert any(key.startswith("layers/") for key in keys) == (what != "layers")
    assert ("train/grad_variance" in keys) == (what != "noise_scale")


def test_what_cannot_be_measured_is_said_once(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("derivative for aten::x is not implemented\nand more")

    monkeypatch.setattr(module, "top_eigenvalue", fail)
    folder = run(*FEW, "model=mlp", node=SHARP)
    assert folder.status["status"] == "finished"
    said = [line for line in folder.log_file.read_text().splitlines() if "left out" in line]
    assert len(said) == 1
    assert said[0].endswith("callbacks.diagnostics.sharpness is left out: derivative for aten::x is not implemented")
    assert all("train/sharpness" not in row for row in measured(folder))
    assert "train/grad_variance" in measured(folder)[0]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ("every: 0", "callbacks.diagnostics.every=0 is not a duration"),
        ("every: 1.5", "callbacks.diagnostics.every=1.5 is not a duration"),
        ("every: often", "callbacks.diagnostics.every=often is not a duration"),
        ("layers: 3", "callbacks.diagnostics.layers=3 is not possible; allowed is true or false"),
        ("sharpness: null", "callbacks.diagnostics.sharpness=null is not possible; allowed is true or false"),
        ("power_iterations: 0", "callbacks.diagnostics.power_iterations=0 is not possible; allowed is an integer of 1"),
        ("power_iterations: 2.0", "callbacks.diagnostics.power_iterations=2.0 is not possible"),
        ("power: 2", "power"),
    ],
)
def test_bad_values_stop_before_training(values, sentence):
    node = f"+callbacks.diagnostics={{_target_: steepest.callbacks.diagnostics.Diagnostics, {values}}}"
    with pytest.raises(ConfigError) as error:
        run("model=logistic", node=node)
    assert sentence in str(error.value)
    assert not Path("runs").exists()


# --- nothing remains ---


def test_what_is_evaluated_aside_leaves_nothing_behind():
    import random

    import numpy as np

    class Task(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.own = nn.BatchNorm1d(3), torch.Generator().manual_seed(1)
            self.device = torch.device("cpu")
            self.train_loss = Sum()
            self.train_means = {"x": Sum()}
            self.counters = Sum()
            plugin = SimpleNamespace(train_step_context=lambda: torch.autograd.set_detect_anomaly(False))
            self.trainer = SimpleNamespace(precision_plugin=plugin)

    class Sum:
        total = 0

        def state_dict(self):
            return {"total": self.total}

        def load_state_dict(self, state):
            self.total = state["total"]

    def draws():
        return [torch.rand(3).tolist(), random.random(), np.random.rand(), torch.rand(3, generator=task.own).tolist()]  # noqa: NPY002

    task = Task()
    before = copy.deepcopy(task.norm.state_dict())
    seeds_ = (torch.get_rng_state(), random.getstate(), np.random.get_state(), task.own.get_state())  # noqa: NPY002
    expected = draws()
    torch.set_rng_state(seeds_[0])
    random.setstate(seeds_[1])
    np.random.set_state(seeds_[2])  # noqa: NPY002
    task.own.set_state(seeds_[3])
    inside = []
    for fails in (False, True):
        try:
            with aside(task, seed=5):
                inside.append(draws()[:3])
                task.norm(torch.randn(4, 3) + 9)
                for counter in (task.train_loss, task.train_means["x"], task.counters):
                    counter.total += 1
                if fails:
                    raise RuntimeError
        except RuntimeError:
            pass
    assert inside[0] == inside[1] != expected[:3]
    assert draws() == expected
    assert differences(before, dict(task.norm.state_dict())) == []
    assert task.train_loss.total == task.train_means["x"].total == task.counters.total == 0


# --- resume, ranks ---


KILLED = [["model=mlp", "model.dropout=0.2"], ["model=cnn", "batch.size=64", "batch.micro_size=32"]]


@pytest.mark.parametrize("words", KILLED)
def test_a_killed_run_has_the_rows_of_one_that_was_left_alone(words):
    words = [*words, "logger=none", "budget={steps:20,epochs:null}", "log.every=4", "validation.every=7"]
    words += ["checkpoint.every_steps=5", SHARP.replace("every: 2", "every: 3")]
    alone, moments = killed(words, runs_dir="alone")
    folder, _ = killed(words, [moments // 2, moments // 3], runs_dir="killed")
    assert "\n".join(differences(timeless(alone.rows()), timeless(folder.rows()))) == ""
    assert len(measured(alone)) == 8
    assert differences(timeless(alone.summary), timeless(folder.summary)) == []


STRATEGIES = {"ddp": ["trainer=ddp_cpu"], "fsdp2": ["trainer=fsdp2", "trainer.accelerator=cpu"]}


@TWO
@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_two_ranks_measure_what_one_does(strategy):
    words = ["model=mlp", "budget={steps:4,epochs:null}", "batch.size=100", "optimizer.lr=0.01", "log.norms=false"]
    alone, together = run(*words, node=SHARP), run(*words, *strategy, node=SHARP)
    assert [row["opt_step"] for row in measured(together)] == [1, 2, 4]
    for one, two in zip(measured(alone), measured(together), strict=True):
        layers = {key for key in one if key.startswith("layers/") or key in ("train/update_cosine", "train/grad_depth")}
        assert layers <= two.keys()
        for key in layers | {"train/initial_loss"} & one.keys():
            assert two[key] == pytest.approx(one[key], rel=2e-3, abs=1e-5), key
    has = {"train/grad_square", "train/grad_variance", "train/sharpness"}
    if "trainer=fsdp2" in strategy:
        assert not has & set().union(*measured(together))
    else:
        assert has <= measured(together)[0].keys()
        ratio = measured(together)[0]["train/grad_variance"] / measured(alone)[0]["train/grad_variance"]
        assert 0.5 < ratio < 2
