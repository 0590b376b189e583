"""What tests of optimizers share: every optimizer of conf/optimizer, something for it to train, and what cannot apply.

`contract(property)` marks a test as a row of docs/conformance.md, and runs it for every optimizer to which it applies.
"""

from functools import partial

import pytest
import torch
from hydra.utils import get_object
from omegaconf import OmegaConf
from torch import nn

from steepest.build import build
from steepest.config import conf_dir

ALL_NODES = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "optimizer").glob("*.yaml"))}
TARGETS = {name: get_object(node["_target_"]) for name, node in ALL_NODES.items()}
NODES = {name: node for name, node in ALL_NODES.items() if hasattr(TARGETS[name], "reach")}
"""The optimizers that are ours: `torch` and `library` are doors to others, see test_library_optimizers.py."""
REACH = {name: TARGETS[name].reach for name in NODES}
SHAPES = [(), (3,), (4, 3), (1, 3), (2, 3, 2), (2, 3, 2, 2), (0,), (0, 3)]

LOOKS_FURTHER = {
    "tensor": "its update of an entry depends on the whole tensor",
    "global": "its update depends on all parameters",
    "matrix": "its update of an entry depends on the whole matrix",
    "module": "it looks at layers, not at single gradients",
}
FLAT = "its step is one for the flat vector of all parameters"
EVALUATES = "it evaluates the loss as often as it needs; what it returns is tested in test_closure_rules.py"
ONE_STEP = f"{FLAT}, so that groups cannot have learning rates of their own; it says so"

NOT_APPLICABLE = {
    "equals its twin": {
        "mirror_descent": "no library has it; known minima in test_tensor_rules.py",
        "coordinate_descent": "scikit-learn's Lasso is its oracle; test_tensor_rules.py",
        "kfac": "explicit Kronecker products are its oracle; test_kfac.py",
        "newton": "its analytic property is; test_closure_rules.py",
        "conjugate_gradient": "SciPy's minima and a quadratic in n steps are; test_closure_rules.py",
        "natural_gradient": "the exact Fisher matrix is; test_closure_rules.py",
    },
    "follows its formula": {
        "kfac": "it looks at layers, not at single gradients; explicit matrices are its oracle in test_kfac.py",
        **{
            name: "it evaluates the loss; explicit matrices and known minima are its oracles in test_closure_rules.py"
            for name, reach in REACH.items()
            if reach == "closure"
        },
    },
    "sparse gradients": {
        name: f"{FLAT}, in which a sparse gradient counts as a dense one; test_closure_rules.py"
        if reach == "closure"
        else LOOKS_FURTHER[reach]
        for name, reach in REACH.items()
        if reach != "element"
    },
    "shapes from 0-d to 4-d, empty": {"kfac": "layers decide the shapes of its parameters; test_kfac.py"},
    "groups with their own lr": {
        **{name: ONE_STEP for name, reach in REACH.items() if reach == "closure"},
        "prodigy": "it estimates one step size for all groups, which lr only multiplies; test_tensor_rules.py",
        "coordinate_descent": "coordinates are counted over all parameters together; test_tensor_rules.py",
    },
    "runs a closure once": {name: EVALUATES for name, reach in REACH.items() if reach == "closure"},
    "data-parallel": {
        name: "line searches and products on each rank's own loss would part the ranks; it is refused"
        for name, reach in REACH.items()
        if reach == "closure"
    },
    "compiled model": {
        name: "torch.compile has no second derivatives"
        for name in NODES
        if getattr(TARGETS[name], "needs_graph", False)
    },
}
"""Of a property: the optimizers that it does not apply to, and why."""


def contract(property_, names=tuple(NODES)):
    """Run the test for every optimizer that has the property; it takes `name`."""
    exempt = NOT_APPLICABLE.get(property_, {})
    unknown = set(exempt) - set(NODES)
    assert not unknown, f"NOT_APPLICABLE names no optimizers: {unknown}"
    applies = [name for name in names if name not in exempt]

    def mark(test):
        return pytest.mark.contract(property_)(pytest.mark.parametrize("name", applies)(test))

    return mark


def make(name, params, **changed):
    """The optimizer of conf/optimizer/<name>.yaml; one for layers is given those of a network (`Network`)."""
    if REACH.get(name) == "module":
        changed.setdefault("module", nn.Module())
    return build(NODES[name], **changed)(params)


def parameters(dtype=torch.float64, shapes=SHAPES, seed=0):
    """Normal parameters of these shapes."""
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


def set_gradients(params, step):
    """Gradients that depend on the point and on the step."""
    generator = torch.Generator().manual_seed(1000 + step)
    for p in params:
        noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
        p.grad = (torch.sin(3 * p.detach().double()) + noise).to(p.dtype)


def run(optimizer, params, steps, start=0):
    """Steps on such gradients."""
    for step in range(start, start + steps):
        set_gradients(params, step)
        optimizer.step()


class Shapes:
    """Something to train for optimizers that take gradients: tensors of all shapes."""

    def __init__(self, name, dtype=torch.float64, shapes=SHAPES, **changed):
        self.params = parameters(dtype, shapes=shapes)
        self.optimizer = make(name, self.params, **changed)

    def step(self, t):
        set_gradients(self.params, t)
        self.optimizer.step()


class Network:
    """Something to train for optimizers that look at layers or evaluate the loss: a network on random examples."""

    def __init__(self, name, dtype=torch.float64, **changed):
        generator = torch.Generator().manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 3))
        with torch.no_grad():
            for p in self.model.parameters():
                p.copy_(torch.randn(p.shape, generator=generator) * 0.5)
        self.model.to(dtype)
        self.params, self.dtype = list(self.model.parameters()), dtype
        self.needs_divergence = getattr(TARGETS[name], "needs_divergence", False)
        self.closes = REACH[name] == "closure"
        changed = {"module": self.model, **changed} if REACH[name] == "module" else changed
        self.optimizer = make(name, self.params, **changed)

    def losses(self, t):
        generator = torch.Generator().manual_seed(2000 + t)
        x = torch.randn(16, 3, generator=generator, dtype=torch.float64).to(self.dtype)
        y = torch.randint(3, (16,), generator=generator)
        logits = self.model(x).float() if self.dtype == torch.bfloat16 else self.model(x)
        log_q = logits.log_softmax(-1)
        log_p = log_q.detach()
        loss = nn.functional.nll_loss(log_q, y)
        return (loss, (log_p.exp() * (log_p - log_q)).sum(-1).mean()) if self.needs_divergence else loss

    def step(self, t):
        if self.closes:
            return self.optimizer.step(partial(self.losses, t))
        self.optimizer.zero_grad()
        self.losses(t).backward()
        return self.optimizer.step()


def bench(name, dtype=torch.float64, **changed):
    """What fits the optimizer: `optimizer`, `params`, `step(t)`."""
    return (Network if REACH[name] in ("module", "closure") else Shapes)(name, dtype, **changed)
