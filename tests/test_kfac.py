"""K-FAC against explicit per-example gradients, explicit Kronecker products, and what must hold by analysis."""

import copy
import gc
import io
import itertools
import pickle
import re
import threading
import weakref

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn
from torch.utils.checkpoint import checkpoint

from steepest.build import build
from steepest.config import conf_dir
from steepest.datasets.digits import Digits
from steepest.errors import ConfigError
from steepest.optimizers import kronecker
from steepest.optimizers.kfac import KFAC

NODE = OmegaConf.load(conf_dir() / "optimizer" / "kfac.yaml")


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(before)


def make(module, params=None, **changed):
    return build(NODE, **changed)(module.parameters() if params is None else params, module=module)


def plain(module, params=None, **changed):
    """Without what bounds the step."""
    return make(module, params, **{"kl_clip": None, **changed})


def mlp():
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))


def batch(examples=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, 5, generator=generator)
    return x, torch.randint(3, (examples,), generator=generator)


def learn(module, optimizer, seeds, examples=12):
    for seed in seeds:
        x, y = batch(examples, seed)
        optimizer.zero_grad()
        F.cross_entropy(module(x), y).backward()
        optimizer.step()


def outputs_and_gradients(layer, x, loss_of_one):
    """Each example's gradient of its own loss at the layer's outputs, by a backward pass for each."""
    found = []
    for example in x:
        s = layer(example[None]).detach().requires_grad_()
        loss_of_one(s).backward()
        found.append(s.grad[0])
    return torch.stack(found)


# --- the factors


@pytest.mark.parametrize("bias", [True, False])
def test_factors_are_those_of_explicit_gradients_of_each_example(bias):
    hidden, head = nn.Linear(5, 6, bias=bias), nn.Linear(6, 3, bias=bias)
    module = nn.Sequential(hidden, nn.Tanh(), head)
    optimizer = plain(module, lr=0.0)
    x, y = batch(7)
    F.cross_entropy(module(x), y).backward()
    optimizer.step()
    factors = {hidden: [[], []], head: [[], []]}
    for example, target in zip(x, y, strict=True):
        s1 = hidden(example).detach().requires_grad_()
        a2 = s1.tanh()
        s2 = head(a2)
        g1, g2 = torch.autograd.grad(F.cross_entropy(s2, target), [s1, s2])
        for layer, a, g in ((hidden, example, g1), (head, a2.detach(), g2)):
            a = torch.cat([a, torch.ones(1)]) if bias else a
            factors[layer][0].append(torch.outer(a, a))
            factors[layer][1].append(torch.outer(g, g))
    for layer, (a, g) in factors.items():
        torch.testing.assert_close(optimizer.state[layer.weight]["A"], torch.stack(a).mean(0))
        torch.testing.assert_close(optimizer.state[layer.weight]["G"], torch.stack(g).mean(0))


def test_positions_count_in_the_mean_of_a_and_in_the_sum_of_g():
    layer = nn.Linear(4, 3)
    optimizer = plain(layer, lr=0.0)
    x, to = torch.randn(5, 6, 4), torch.randn(6, 3)

    def loss(s):
        return ((s - to) ** 2).sum((1, 2)).mean()

    loss(layer(x)).backward()
    optimizer.step()
    g = outputs_and_gradients(layer, x, loss)
    a = F.pad(x, (0, 1), value=1.0)
    state = optimizer.state[layer.weight]
    torch.testing.assert_close(state["A"], torch.einsum("nti,ntj->ij", a, a) / 30)
    torch.testing.assert_close(state["G"], torch.einsum("nti,ntj->ij", g, g) / 5)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": (1, 2), "stride": (2, 1), "dilation": (1, 2), "bias": False},
        {"padding": "same", "dilation": (1, 3)},
        {"padding": "valid"},
        {"padding": 1, "padding_mode": "circular"},
    ],
    ids=str,
)
def test_convolutions_have_omega_and_gamma_of_their_patches(options):
    layer = nn.Conv2d(2, 3, (3, 2), **options)
    optimizer = plain(layer, lr=0.0)
    x = torch.randn(4, 2, 7, 8)
    s = layer(x)
    to = torch.randn(s.shape[1:])

    def loss(s):
        return ((s - to) ** 2).sum((1, 2, 3)).mean()

    loss(s).backward()
    optimizer.step()
    g = outputs_and_gradients(layer, x, loss)
    positions = g[0, 0].numel()
    # What a pixel of the output sees of the image is the derivative of that pixel by the weights.
    patches = []
    for image, i, j in itertools.product(x, range(g.shape[2]), range(g.shape[3])):
        (patch,) = torch.autograd.grad(layer(image[None])[0, 0, i, j], layer.weight)
        patches.append(patch[0].flatten())
    a = torch.stack(patches)
    a = F.pad(a, (0, 1), value=1.0) if layer.bias is not None else a
    omega, gamma = a.T @ a / 4, torch.einsum("nihw,njhw->ij", g, g) / (4 * positions)
    state = optimizer.state[layer.weight]
    torch.testing.assert_close(state["A"], omega / positions)
    torch.testing.assert_close(state["G"], gamma * positions)


def twins(one, two, x_one, x_two, steps=3, **changed):
    """Both layers under the same loss of their outputs, for some steps; the second's outputs have the same numbers."""
    first, second = make(one, every=1, **changed), make(two, every=1, **changed)
    for step in range(steps):
        to = torch.randn(x_one.shape[0], 3, generator=torch.Generator().manual_seed(step))
        for layer, optimizer, x in ((one, first, x_one), (two, second, x_two)):
            optimizer.zero_grad()
            ((layer(x).flatten(1) - to) ** 2).sum(1).mean().backward()
            optimizer.step()


@pytest.mark.parametrize("size", [1, 3])
def test_a_convolution_with_one_pixel_of_output_is_a_linear_layer(size):
    conv, linear = nn.Conv2d(2, 3, size), nn.Linear(2 * size * size, 3)
    with torch.no_grad():
        linear.weight.copy_(conv.weight.flatten(1))
        linear.bias.copy_(conv.bias)
    x = torch.randn(6, 2, size, size)
    twins(conv, linear, x, x.flatten(1))
    torch.testing.assert_close(conv.weight.flatten(1), linear.weight)
    torch.testing.assert_close(conv.bias, linear.bias)


@pytest.mark.parametrize("padding", [None, 2])
def test_an_embedding_is_a_linear_layer_on_one_hot_inputs(padding):
    table, linear = nn.Embedding(5, 3, padding_idx=padding), nn.Linear(5, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(table.weight.T)
    tokens = torch.tensor([0, 1, 1, 3, 4, 4, 4]) if padding is None else torch.tensor([0, 1, 3, 1, 4])
    twins(table, linear, tokens, F.one_hot(tokens, 5).double())
    torch.testing.assert_close(table.weight.T, linear.weight)


def test_padding_is_no_position_of_an_embedding():
    table = nn.Embedding(4, 2, padding_idx=0)
    optimizer = plain(table, lr=0.0)
    weights = torch.randn(2, 3, 2)
    (table(torch.tensor([[1, 3, 0], [3, 0, 0]])) * weights).sum((1, 2)).mean().backward()
    optimizer.step()
    state, g = optimizer.state[table.weight], torch.stack([weights[0, 0], weights[0, 1], weights[1, 0]])
    torch.testing.assert_close(state["A"], torch.tensor([0.0, 1 / 3, 0.0, 2 / 3]))
    torch.testing.assert_close(state["G"], g.T @ g / 2)


def test_single_examples_need_no_first_dimension():
    linear, conv = nn.Linear(3, 2), nn.Conv2d(1, 2, 2)
    table = nn.Embedding(4, 2)
    for layer, x in ((linear, torch.randn(3)), (conv, torch.randn(1, 4, 4)), (table, torch.tensor(2))):
        batched, single = copy.deepcopy(layer), layer
        for module, inputs in ((batched, x[None]), (single, x)):
            optimizer = make(module)
            (module(inputs) ** 2).sum().backward()
            optimizer.step()
        assert torch.equal(batched.weight, single.weight)


@pytest.mark.parametrize("together", [False, True])
def test_two_micro_batches_are_one_batch(together):
    whole, parts = mlp(), mlp()
    parts.load_state_dict(whole.state_dict())
    one, two = make(whole), make(parts)
    for step in range(4):
        x, y = batch(12, step)
        for optimizer in (one, two):
            optimizer.zero_grad()
        F.cross_entropy(whole(x), y).backward()
        losses = []
        for rows in (slice(0, 6), slice(6, 12)):
            losses.append(F.cross_entropy(parts(x[rows]), y[rows]) / 2)
            if not together:
                losses.pop().backward()
        if together:
            sum(losses).backward()
        one.step()
        two.step()
    torch.testing.assert_close([*parts.parameters()], [*whole.parameters()])


def test_a_layer_used_twice_in_a_pass_sees_twice_the_positions_of_the_same_examples():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(self.layer(x).tanh())

    module = Twice()
    optimizer = plain(module, lr=0.0)
    x = torch.randn(5, 4)
    (module(x) ** 2).sum(1).mean().backward()
    optimizer.step()
    a1 = x
    s1 = module.layer(a1).detach().requires_grad_()
    a2 = s1.tanh()
    s2 = module.layer(a2)
    g = torch.cat(torch.autograd.grad((s2**2).sum(), [s1, s2]))
    a = F.pad(torch.cat([a1, a2.detach()]), (0, 1), value=1.0)
    state = optimizer.state[module.layer.weight]
    torch.testing.assert_close(state["A"], a.T @ a / 10)
    torch.testing.assert_close(state["G"], g.T @ g / 5)


def test_running_averages_begin_with_equal_weights_and_end_with_beta():
    module = mlp()
    optimizer = plain(module, lr=0.0, beta=0.6, factors_every=2)
    alone = []
    for seed in range(10):
        fresh = plain(module, lr=0.0)
        learn(module, fresh, [seed])
        alone.append(fresh.state[module[0].weight]["G"])
        fresh.close()
    learn(module, optimizer, range(10))
    expected = 0.0
    for k, g in enumerate(alone[::2], start=1):
        e = min(1 - 1 / k, 0.6)
        expected = e * expected + (1 - e) * g
    torch.testing.assert_close(optimizer.state[module[0].weight]["G"], expected)


def test_inverses_are_renewed_in_the_first_steps_and_then_in_their_rhythm():
    module = mlp()
    optimizer = make(module, every=4)
    renewed, last = [], None
    for step in range(1, 14):
        learn(module, optimizer, [step])
        inverse = optimizer.state[module[0].weight]["A_inv"].clone()
        if last is None or not torch.equal(inverse, last):
            renewed.append(step)
        last = inverse
    assert renewed == [1, 2, 3, 5, 9, 13]


# --- the update


def damped(a, g, damping):
    pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(g) / len(g)))
    return a + pi * np.sqrt(damping) * np.eye(len(a)), g + np.sqrt(damping) / pi * np.eye(len(g))


def test_one_example_gives_the_exact_fisher_matrix_and_the_solution_of_its_damped_kronecker_product():
    layer = nn.Linear(4, 3)
    optimizer = plain(layer, lr=0.5, damping=0.03)
    before = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy()
    F.cross_entropy(layer(torch.randn(1, 4)), torch.tensor([1])).backward()
    gradient = torch.cat([layer.weight.grad, layer.bias.grad[:, None]], 1).numpy().flatten()
    optimizer.step()
    a, g = (optimizer.state[layer.weight][name].numpy() for name in "AG")
    np.testing.assert_allclose(np.kron(g, a), np.outer(gradient, gradient), atol=1e-14)
    a, g = damped(a, g, 0.03)
    expected = before - 0.5 * np.linalg.solve(np.kron(g, a), gradient).reshape(before.shape)
    np.testing.assert_allclose(torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy(), expected)


def test_with_inputs_independent_of_gradients_a_step_is_the_natural_gradient():
    layer = nn.Linear(3, 2)
    optimizer = plain(layer, lr=1.0, damping=0.0)
    before = torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy()
    inputs, slopes = torch.randn(6, 3), torch.randn(5, 2)
    x, c = inputs.repeat_interleave(5, 0), slopes.repeat(6, 1)  # every input with every slope
    (layer(x) * c).sum(1).mean().backward()
    optimizer.step()
    each = np.einsum("no,ni->noi", c.numpy(), F.pad(x, (0, 1), value=1.0).numpy()).reshape(30, -1)
    fisher, gradient = each.T @ each / 30, each.mean(0)
    expected = before - np.linalg.solve(fisher, gradient).reshape(before.shape)
    np.testing.assert_allclose(torch.cat([layer.weight, layer.bias[:, None]], 1).detach().numpy(), expected)


def test_undamped_it_does_not_see_an_affine_transformation_of_its_inputs():
    """Martens and Grosse 2015, Theorem 1."""
    layer, other = nn.Linear(4, 3), nn.Linear(4, 3)
    turn, shift = torch.randn(4, 4), torch.randn(4)
    with torch.no_grad():  # other(turn x + shift) = layer(x)
        other.weight.copy_(layer.weight @ turn.inverse())
        other.bias.copy_(layer.bias - other.weight @ shift)
    x, to = torch.randn(30, 4), torch.randn(30, 3)
    at_first = layer(x).detach()
    optimizers = [make(module, lr=0.1, damping=0.0, kl_clip=0.05) for module in (layer, other)]
    for step in range(6):
        noise = torch.randn(30, 3, generator=torch.Generator().manual_seed(step))
        for module, optimizer, inputs in zip((layer, other), optimizers, (x, x @ turn.T + shift), strict=True):
            optimizer.zero_grad()
            ((module(inputs) - to - noise) ** 2).sum(1).mean().backward()
            optimizer.step()
        torch.testing.assert_close(other(x @ turn.T + shift), layer(x))
    assert (layer(x) - at_first).abs().max() > 0.1


@pytest.mark.parametrize("damping", [0.0, 0.25])
def test_with_identity_factors_it_is_sgd_with_momentum(damping):
    ours, theirs = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    theirs.load_state_dict(ours.state_dict())
    optimizer = plain(ours, lr=0.1, damping=damping)
    twin = torch.optim.SGD(theirs.parameters(), 0.1 / (1 + damping**0.5) ** 2, momentum=0.9)
    for _ in range(5):
        x, g = (torch.linalg.qr(torch.randn(4, 4))[0] * 2 for _ in range(2))  # mean of a a^T and of g g^T: I
        for layer, one in ((ours, optimizer), (theirs, twin)):
            one.zero_grad()
            (layer(x) * g).sum(1).mean().backward()
            one.step()
        torch.testing.assert_close(ours.weight, theirs.weight)


def test_parameters_of_other_layers_follow_sgd_with_momentum():
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.scale, self.tied, self.table = nn.Parameter(torch.randn(())), nn.Linear(4, 4), nn.Linear(4, 4)
            self.table.weight = self.tied.weight
            self.norm, self.lstm = nn.LayerNorm(4), nn.LSTM(4, 4, batch_first=True)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.groups = nn.Conv2d(2, 2, 1, groups=2)
            self.scaled = nn.Embedding(3, 4, scale_grad_by_freq=True)

        def forward(self, x):
            x = self.attention(x, x, x)[0] + self.scaled(torch.tensor([0, 1, 1, 2])) * self.scale
            x = self.groups(x.view(-1, 2, 2, 4)).view(-1, 4, 4)
            return self.table(self.tied(self.lstm(self.norm(x))[0]).tanh())

    ours, theirs = Other(), Other()
    matrices = {name for name, p in ours.named_parameters() if plain(ours).treats_as_matrix(p, {})}
    assert not matrices - {"tied.bias", "table.bias"}
    assert not matrices
    optimizer, twin = plain(ours, lr=0.1), torch.optim.SGD(theirs.parameters(), 0.1, momentum=0.9)
    for step in range(4):
        x = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(step))
        for module, one in ((ours, optimizer), (theirs, twin)):
            one.zero_grad()
            (module(x) ** 2).mean().backward()
            one.step()
    torch.testing.assert_close([*ours.parameters()], [*theirs.parameters()])


def test_the_first_step_is_as_long_as_kl_clip_allows():
    module, lr = mlp(), 0.7
    optimizer = make(module, lr=lr, kl_clip=1e-4)
    x, y = batch()
    F.cross_entropy(module(x), y).backward()
    before = [p.detach().clone() for p in module.parameters()]
    optimizer.step()
    # lr^2 nu^2 d.g is the squared length in the norm of the damped Fisher matrix; here u = lr nu d.
    moved = [b - p.detach() for b, p in zip(before, module.parameters(), strict=True)]
    length = 0.0
    for layer, w, b in ((module[0], *moved[:2]), (module[2], *moved[2:])):
        u, state = torch.cat([w, b[:, None]], 1), optimizer.state[layer.weight]
        length += (u * (state["G_inv"].inverse() @ u @ state["A_inv"].inverse())).sum()
    assert length.item() == pytest.approx(1e-4)


def test_weight_and_bias_in_groups_of_their_own_are_preconditioned_together():
    joint, apart = mlp(), mlp()
    apart.load_state_dict(joint.state_dict())
    biases = [p for name, p in apart.named_parameters() if "bias" in name]
    weights = [p for name, p in apart.named_parameters() if "bias" not in name]
    one, two = plain(joint), plain(apart, [{"params": biases}, {"params": weights}])
    for step in range(3):
        learn(joint, one, [step])
        learn(apart, two, [step])
    torch.testing.assert_close([*apart.parameters()], [*joint.parameters()])


@pytest.mark.contract("groups with their own lr", "kfac")
def test_two_layers_in_groups_with_their_own_lr_move_as_with_an_optimizer_for_each():
    together, apart = mlp(), mlp()
    apart.load_state_dict(together.state_dict())
    groups = [{"params": together[0].parameters(), "lr": 0.2}, {"params": together[2].parameters()}]
    one = plain(together, groups, lr=0.05)
    alone = [plain(apart, apart[i].parameters(), lr=lr) for i, lr in ((0, 0.2), (2, 0.05))]
    for step in range(4):
        x, y = batch(seed=step)
        for module, optimizers in ((together, [one]), (apart, alone)):
            for optimizer in optimizers:
                optimizer.zero_grad()
            F.cross_entropy(module(x), y).backward()
            for optimizer in optimizers:
                optimizer.step()
        torch.testing.assert_close([*together.parameters()], [*apart.parameters()])
    assert all(not torch.equal(p, q) for p, q in zip(together.parameters(), mlp().parameters(), strict=True))


@pytest.mark.contract("groups with their own lr", "kfac")
@pytest.mark.parametrize("form", ["l2", "times_lr", "decoupled"])
def test_groups_have_their_own_lr_and_decay_in_three_forms(form):
    layer = nn.Linear(4, 3)
    w, b = (p.detach().clone() for p in layer.parameters())
    groups = [{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.3, "weight_decay": 0.0}]
    optimizer = plain(layer, groups, lr=0.1, weight_decay=0.2, weight_decay_form=form)
    F.cross_entropy(layer(torch.randn(6, 4)), torch.tensor([0, 1, 2, 0, 1, 1])).backward()
    gradient = torch.cat([layer.weight.grad + (0.2 * w if form == "l2" else 0.0), layer.bias.grad[:, None]], 1)
    optimizer.step()
    state = optimizer.state[layer.weight]
    d = state["G_inv"] @ gradient @ state["A_inv"]
    shrunk = w * {"l2": 1.0, "times_lr": 1 - 0.1 * 0.2, "decoupled": 1 - 0.2}[form]
    torch.testing.assert_close(layer.weight.detach(), shrunk - 0.1 * d[:, :-1])
    torch.testing.assert_close(layer.bias.detach(), b - 0.3 * d[:, -1])


def test_maximising_the_negative_is_minimising():
    down, up = mlp(), mlp()
    up.load_state_dict(down.state_dict())
    one, two = make(down, weight_decay=0.1), make(up, weight_decay=0.1, maximize=True)
    for step in range(3):
        x, y = batch(seed=step)
        for module, optimizer, sign in ((down, one, 1), (up, two, -1)):
            optimizer.zero_grad()
            (sign * F.cross_entropy(module(x), y)).backward()
            optimizer.step()
    torch.testing.assert_close([*up.parameters()], [*down.parameters()])


def test_cautious_steps_keep_the_entries_that_go_against_the_gradient():
    free, careful = mlp(), mlp()
    careful.load_state_dict(free.state_dict())
    before = [p.detach().clone() for p in free.parameters()]
    one, two = make(free), make(careful, cautious=True)
    learn(free, one, [0])
    learn(careful, two, [0])
    for x, a, b in zip(before, free.parameters(), careful.parameters(), strict=True):
        u, keep = a.detach() - x, ((a.detach() - x) * a.grad < 0)
        torch.testing.assert_close(b.detach(), x + u * keep * keep.numel() / (keep.sum() + 1))


# --- several ranks


class Ranks:
    """Stands in for torch.distributed in two threads of one process."""

    def __init__(self, count):
        self.count, self.barrier, self.given = count, threading.Barrier(count, timeout=60), {}

    def is_available(self):
        return True

    is_initialized = is_available

    def get_world_size(self):
        return self.count

    def all_reduce(self, tensor):
        self.given[threading.get_ident()] = tensor.clone()
        self.barrier.wait()
        total = sum(self.given[key] for key in sorted(self.given))
        self.barrier.wait()
        tensor.copy_(total)


@pytest.mark.parametrize("cut", [6, 4])
def test_two_ranks_equal_one_with_all_examples(monkeypatch, cut):
    whole = mlp()
    modules = [copy.deepcopy(whole) for _ in range(2)]
    alone, optimizers = make(whole, factors_every=2), [make(module, factors_every=2) for module in modules]
    for step in range(5):
        x, y = batch(12, step)
        shares = [(x[:cut], y[:cut]), (x[cut:], y[cut:])]
        for optimizer in (alone, *optimizers):
            optimizer.zero_grad()
        F.cross_entropy(whole(x), y).backward()
        alone.step()
        for module, (inputs, targets) in zip(modules, shares, strict=True):
            # Shares of unequal size are weighted, as the classification task does.
            (F.cross_entropy(module(inputs), targets) * (len(targets) * 2 / 12)).backward()
        for pair in zip(*(module.parameters() for module in modules), strict=True):
            mean = (pair[0].grad + pair[1].grad) / 2
            for p in pair:
                p.grad = mean.clone()
        with monkeypatch.context() as patched:
            patched.setattr(kronecker, "dist", Ranks(2))
            threads = [threading.Thread(target=optimizer.step) for optimizer in optimizers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    for module in modules:
        torch.testing.assert_close([*module.parameters()], [*whole.parameters()])


# --- what the hooks see


def hooks(module):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def statistics(optimizer):
    return [layer.examples for layer in optimizer._layers.values()]


def test_only_training_passes_with_a_backward_pass_are_seen():
    module = mlp()
    optimizer = make(module)
    x, y = batch()
    with torch.no_grad():
        module(x)
    module.eval()
    F.cross_entropy(module(x), y).backward()
    module.train()
    module(x)
    assert statistics(optimizer) == [0, 0]
    module(x).sum().backward()
    assert statistics(optimizer) == [12, 12]
    optimizer.zero_grad()
    assert statistics(optimizer) == [0, 0]


def test_evaluating_in_between_does_not_change_training():
    one, two = mlp(), mlp()
    two.load_state_dict(one.state_dict())
    first, second = make(one), make(two)
    for step in range(3):
        learn(one, first, [step])
        learn(two, second, [step])
        two.eval()
        two(batch()[0]).sum()
        two.train()
        two(batch()[0]).sum()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_inputs_are_let_go_after_the_backward_pass_though_the_loss_is_kept():
    module = mlp()
    optimizer = make(module)
    x = torch.randn(4, 5)
    watched = weakref.ref(x.untyped_storage())
    loss = module(x).sum()
    loss.backward()
    del x
    assert loss.grad_fn is not None
    assert watched() is None
    optimizer.step()
    assert statistics(optimizer) == [0, 0]
    assert all(layer.sums is None for layer in optimizer._layers.values())


def test_recomputed_activations_are_counted_once():
    straight, spared = mlp(), mlp()
    spared.load_state_dict(straight.state_dict())

    class Spared(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = spared

        def forward(self, x):
            return checkpoint(self.inner, x, use_reentrant=False)

    outer = Spared()
    one, two = make(straight), make(outer)
    learn(straight, one, range(3))
    learn(outer, two, range(3))
    for a, b in zip(straight.parameters(), outer.parameters(), strict=True):
        assert torch.equal(a, b)


def test_activations_may_be_overwritten_in_place():
    one = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))
    two = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 3))
    two.load_state_dict(one.state_dict())
    learn(one, make(one), range(3))
    learn(two, make(two), range(3))
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)


def test_close_removes_the_hooks_and_so_does_the_end_of_the_optimizer():
    module = mlp()
    optimizer = make(module)
    assert hooks(module) == 4
    optimizer.close()
    optimizer.close()
    assert hooks(module) == 0
    learn(module, optimizer, [0])
    assert "A" not in optimizer.state[module[0].weight]
    optimizer = make(module)
    learn(module, optimizer, [0])
    gone = weakref.ref(optimizer)
    del optimizer
    gc.collect()
    assert gone() is None
    assert hooks(module) == 0


def test_copies_of_the_model_are_not_watched():
    module = mlp()
    optimizer = make(module)
    for copied in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        F.cross_entropy(copied(batch()[0]), batch()[1]).backward()
        assert statistics(optimizer) == [0, 0]
        assert all(p.grad is None for p in module.parameters())
        learn(copied, make(copied), [0])
        assert statistics(optimizer) == [0, 0]
    learn(module, optimizer, [0])
    assert "A" in optimizer.state[module[0].weight]


# --- layers that are not always trained


def test_a_frozen_layer_stays_and_the_others_learn_as_if_it_were_no_layer():
    module = mlp()
    module[0].requires_grad_(False)
    optimizer = make(module)
    frozen = module[0].weight.clone()
    learn(module, optimizer, range(3))
    assert torch.equal(module[0].weight, frozen)
    assert module[0].weight not in optimizer.state
    assert [optimizer.treats_as_matrix(p, optimizer.param_groups[0]) for p in module.parameters()] == [0, 0, 1, 1]


def test_a_layer_whose_bias_alone_is_frozen_has_no_coordinate_for_it():
    module = nn.Linear(4, 3)
    module.bias.requires_grad_(False)
    optimizer = make(module)
    module(torch.randn(6, 4)).square().sum(1).mean().backward()
    optimizer.step()
    assert optimizer.state[module.weight]["A"].shape == (4, 4)


def test_a_layer_frozen_later_and_a_bias_frozen_later_stay():
    module = mlp()
    optimizer = make(module)
    learn(module, optimizer, range(2))
    module[0].requires_grad_(False)
    module[2].bias.requires_grad_(False)
    before = copy.deepcopy(module.state_dict())
    learn(module, optimizer, range(2, 4))
    moved = [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == ["2.weight"]


def test_a_layer_unused_in_a_step_stays_and_keeps_its_factors():
    class Choice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 3), nn.Linear(5, 3)

        def forward(self, x, both):
            return self.a(x) + (self.b(x) if both else 0.0)

    module = Choice()
    optimizer = make(module)
    for step, both in enumerate([True, False, True, False]):
        x, y = batch(seed=step)
        before, state = module.b.weight.detach().clone(), copy.deepcopy(optimizer.state.get(module.b.weight))
        optimizer.zero_grad()
        F.cross_entropy(module(x, both), y).backward()
        optimizer.step()
        assert torch.equal(module.b.weight, before) is not both
        if not both:
            torch.testing.assert_close(optimizer.state[module.b.weight], state, rtol=0, atol=0)
    assert optimizer.state[module.b.weight]["averaged"] == 2


def test_only_the_optimizers_own_parameters_count_as_layers():
    module = mlp()
    optimizer = make(module, [module[2].weight])
    assert [optimizer.treats_as_matrix(p, {}) for p in module.parameters()] == [False, False, True, False]
    learn(module, optimizer, range(2))
    assert optimizer.state[module[2].weight]["A"].shape == (6, 6)


def test_a_sparse_gradient_is_refused():
    module = nn.Embedding(5, 3, sparse=True)
    optimizer = make(module)
    module(torch.tensor([0, 1])).sum().backward()
    with pytest.raises(RuntimeError, match="KFAC cannot take a sparse gradient"):
        optimizer.step()


def test_float16_is_refused():
    module = nn.Linear(4, 3).float()
    optimizer = make(module)
    with torch.autocast("cpu", torch.float16), pytest.raises(RuntimeError, match="KFAC cannot take float16"):
        module(torch.randn(2, 4, dtype=torch.float32))
    assert statistics(optimizer) == [0]


# --- numbers at their limits


def test_without_curvature_or_without_damping_steps_are_finite():
    module = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
    nn.init.zeros_(module[2].weight)  # no gradient reaches the first layer
    learn(module, make(module), range(3))
    assert all(p.isfinite().all() for p in module.parameters())
    learn(module, make(module, damping=0.0), range(3), examples=2)  # singular factors
    assert all(p.isfinite().all() for p in module.parameters())


def test_a_diverged_run_has_weights_that_are_no_numbers():
    module = mlp()
    optimizer = make(module)
    module(torch.full((2, 5), float("inf"))).sum().backward()
    optimizer.step()
    assert module[0].weight.isnan().any()


@pytest.mark.parametrize("dim", [1, 2])
def test_damped_inverses(dim):
    m = torch.diag(torch.tensor([4.0, 0.0])) if dim == 2 else torch.tensor([4.0, 0.0])
    invert = kronecker.damped_inverse
    for damping, expected in ((1.0, [0.2, 1.0]), (0.0, [0.25, 0.0])):
        inverse = invert(m, torch.tensor(damping))
        torch.testing.assert_close(inverse if dim == 1 else inverse.diagonal(), torch.tensor(expected))


# --- checkpoints and precision


def convolutional(dtype=torch.float32):
    torch.manual_seed(3)
    layers = [nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 3)).to(dtype)


def train_images(module, optimizer, steps, dtype=torch.float32):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x, y = torch.randn(8, 1, 4, 4, generator=generator).to(dtype), torch.randint(3, (8,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(module(x).float(), y).backward()
        optimizer.step()


@pytest.mark.parametrize(("dtype", "cut"), [(torch.bfloat16, 1), (torch.float32, 6)])
def test_a_checkpoint_in_the_middle_continues_bit_for_bit(dtype, cut):
    options = {"every": 4, "factors_every": 2, "weight_decay": 0.01}
    whole, first = convolutional(dtype), convolutional(dtype)
    straight, before = make(whole, **options), make(first, **options)
    train_images(whole, straight, range(12), dtype)
    train_images(first, before, range(cut), dtype)
    file = io.BytesIO()
    torch.save({"model": first.state_dict(), "optimizer": before.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = convolutional(dtype)
    second.load_state_dict(saved["model"])
    resumed = make(second, **options)
    resumed.load_state_dict(saved["optimizer"])
    train_images(second, resumed, range(cut, 12), dtype)
    for a, b in zip(second.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    for p, q in zip(second.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(resumed.state[p], straight.state[q], rtol=0, atol=0)
    factors = [value for state in resumed.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    assert {value.dtype for value in factors} == {torch.float32}
    assert {"step", "v", "averaged", "A", "G", "A_inv", "G_inv"} == resumed.state[second[0].weight].keys()


def test_bfloat16_autocast_keeps_float32_factors_near_those_of_float32():
    exact, coarse = convolutional(), convolutional()
    one, two = make(exact, lr=0.0), make(coarse, lr=0.0)
    train_images(exact, one, range(2))
    for step in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            train_images(coarse, two, [step])
    for name in "AG":
        a, b = (optimizer.state[module[5].weight][name] for optimizer, module in ((one, exact), (two, coarse)))
        assert b.dtype == torch.float32
        torch.testing.assert_close(b, a, rtol=0.05, atol=0.01 * a.abs().max().item())


# --- the whole


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"momentum": 1.0}, "optimizer.momentum=1.0"),
        ({"beta": 1.0}, "optimizer.beta=1.0"),
        ({"factors_every": 2.5}, "optimizer.factors_every=2.5"),
        ({"kl_clip": 0.0}, "optimizer.kl_clip=0.0"),
        ({"kl_clip": float("inf")}, "optimizer.kl_clip=inf"),
        ({"module": None}, "module=null"),
    ],
)
def test_values_of_its_own_out_of_range_are_named_and_leave_no_hooks(changed, said):
    module = mlp()
    with pytest.raises(ConfigError, match=re.escape(said)):
        KFAC(module.parameters(), **{"module": module, **changed})
    assert hooks(module) == 0


def test_digits_are_learnt_in_fewer_steps_than_adam_needs():
    torch.set_default_dtype(torch.float32)
    source = Digits.read_source(None)
    images, targets = source.train.images.float().div(255).flatten(1), source.train.labels

    def loss_after(make_optimizer, steps):
        torch.manual_seed(0)
        module = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        optimizer = make_optimizer(module)
        for step in range(steps):
            rows = torch.randint(len(images), (128,), generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            F.cross_entropy(module(images[rows]), targets[rows]).backward()
            optimizer.step()
        return F.cross_entropy(module(images), targets).item()

    assert loss_after(make, 40) < loss_after(lambda module: torch.optim.Adam(module.parameters(), 1e-2), 80)
