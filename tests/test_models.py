"""Image models: shapes, gradients, initial weights, published parameter counts, independent oracles, bad input."""

import copy
import inspect
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchvision
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torchvision.models.vgg import cfgs, make_layers

from steepest.build import build
from steepest.config import conf_dir
from steepest.errors import ConfigError
from steepest.models.lstm import LSTM
from steepest.models.mlp import MLP
from steepest.models.resnet import ResNet
from steepest.models.resnet_cifar import CifarResNet
from steepest.models.vgg import VGG
from steepest.models.vit import fitting_patch
from steepest.signature import signature

YAMLS = {  # of classifiers of images; models of other domains have tests of their own
    path.stem: node
    for path in sorted((conf_dir() / "model").glob("*.yaml"))
    if {"input_shape", "num_classes"} <= set(signature(get_class((node := OmegaConf.load(path))._target_)).needed)
}
DIGIT, GREY, COLOUR = (1, 8, 8), (1, 28, 28), (3, 32, 32)
SMALL = {
    "vgg": {"width": 8},
    "resnet9": {"width": 8},
    "vit": {"dim": 32, "depth": 2},
    "lstm": {"hidden": 32},
    "cnn": {"widths": [8, 16]},
}
RUN = {"cnn": (0.5, 15), "lstm": (0.2, 12), "resnet50": (0.01, 6), "vit": (0.01, 40)}  # learning rate, steps
CONVOLUTIONAL = {"cnn", "resnet8", "resnet18", "resnet50", "vgg"}
every_model = pytest.mark.parametrize("name", YAMLS)


def make(name, shape=DIGIT, *, num_classes=10, seed=0, small=True, **overrides):
    """The model of `conf/model/<name>.yaml`, narrower where the default is wide."""
    node = OmegaConf.to_container(YAMLS[name]) | (SMALL.get(name, {}) if small else {}) | overrides
    torch.manual_seed(seed)
    return build(node, input_shape=shape, num_classes=num_classes)


def images(shape, batch=2, dtype=torch.float32):
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1)).to(dtype)


def count(model):
    return sum(p.numel() for p in model.parameters())


def randomise(model):
    """Leave zero-initialised gates (ViT's head, residual gammas) behind, so that gradients reach everything."""
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.05)
    return model


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x[:64], dtype=torch.float32).view(-1, *DIGIT)
    return (x - x.mean()) / x.std(), torch.tensor(y[:64])


# --- every model of conf/model/*.yaml ---------------------------------------------------------------------------------


def test_the_folder_of_yamls_was_found():
    assert {"logistic", "mlp", "cnn", "lstm", "resnet8", "resnet18", "resnet50", "vgg", "vit"} <= YAMLS.keys()


@every_model
def test_yaml_keys_are_the_signature_and_its_defaults_are_the_same(name):
    node = OmegaConf.to_container(YAMLS[name])
    signature = inspect.signature(get_class(node.pop("_target_"))).parameters
    assert node.keys() == signature.keys() - {"input_shape", "num_classes"}
    for key, value in node.items():
        default = signature[key].default
        if default is not inspect.Parameter.empty:
            assert value == (list(default) if isinstance(default, tuple) else default), key


@pytest.mark.parametrize(
    ("name", "shape", "num_classes"),
    # Every model at its default size.
    [(n, s, k) for n in YAMLS for s, k in [(DIGIT, 10), (GREY, 2), (COLOUR, 100)]],
)
def test_logits_have_one_column_a_class_and_are_finite(name, shape, num_classes):
    model = make(name, shape, num_classes=num_classes, small=False)
    with torch.no_grad():
        logits = model(images(shape))
    assert logits.shape == (2, num_classes)
    assert logits.isfinite().all()


@every_model
def test_loss_on_a_fixed_batch_of_digits_falls(name, digits):
    heavy = name == "resnet50"  # fewer steps, from the identity, which is calm from the start
    model = make(name, zero_init_residual=True) if heavy else make(name)
    x, y = (part[:16] if heavy else part for part in digits)
    lr, steps = RUN.get(name, (0.05, 12))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0], losses


@every_model
def test_first_loss_is_near_that_of_a_uniform_guess(name, digits):
    x, y = digits
    assert F.cross_entropy(make(name)(x), y).item() == pytest.approx(math.log(10), abs=1.0)


@every_model
def test_every_parameter_receives_a_finite_gradient_and_none_is_unused(name, digits):
    model, (x, y) = randomise(make(name)), digits
    F.cross_entropy(model(x[:8]), y[:8]).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.count_nonzero(), key


@every_model
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(name):
    first, again, other = make(name).state_dict(), make(name).state_dict(), make(name, seed=1).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert name == "logistic" or any(not torch.equal(first[key], other[key]) for key in first)


@every_model
def test_copies_by_deepcopy_and_pickle_compute_the_same(name):
    model, x = make(name).eval(), images(DIGIT)
    expected = model(x)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(twin(x), expected)
        assert not {p.data_ptr() for p in twin.parameters()} & {p.data_ptr() for p in model.parameters()}


@every_model
def test_low_and_double_precision_agree_with_single(name):
    model = randomise(make(name)).eval()
    single = model(images(DIGIT))
    double = copy.deepcopy(model).double()(images(DIGIT, dtype=torch.float64))
    half = copy.deepcopy(model).bfloat16()(images(DIGIT, dtype=torch.bfloat16))
    assert (double.dtype, half.dtype) == (torch.float64, torch.bfloat16)
    scale = double.abs().max().item()
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-4 * scale)
    torch.testing.assert_close(half.double(), double, rtol=0, atol=0.1 * scale)


@every_model
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_gradients_keep_the_parameters_dtype(name, dtype):
    model = make(name).to(dtype)
    model(images(DIGIT, dtype=dtype)).sum().backward()
    assert {p.grad.dtype for p in model.parameters()} == {dtype}


@every_model
def test_channels_last_memory_changes_nothing(name):
    model, x = make(name, COLOUR).eval(), images(COLOUR)
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(last, model(x), rtol=1e-4, atol=1e-4)


@every_model
def test_the_compiler_captures_the_whole_model(name):
    torch.compiler.reset()
    model, x = make(name).eval(), images(DIGIT)
    whole = name != "lstm"  # torch's recurrent layers are left to their own kernel: a graph break
    compiled = torch.compile(model, backend="eager", fullgraph=whole)
    torch.testing.assert_close(compiled(x), model(x))


@every_model
def test_dropout_acts_in_training_only(name):
    fields = {key: 0.5 for key in YAMLS[name] if key.endswith("dropout")}
    if not fields:
        assert name in {"logistic", "resnet8", "resnet9", "resnet18", "resnet50"}
        return
    model, x = randomise(make(name, **fields)), images(DIGIT, batch=4)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


# --- against published numbers, twins and hand computations -----------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (lambda: make("resnet18", COLOUR), 11_173_962),  # the usual CIFAR-10 ResNet-18 and -50
        (lambda: make("resnet50", COLOUR), 23_520_842),
        (lambda: ResNet(input_shape=(3, 224, 224), num_classes=1000, depth=18), 11_689_512),  # torchvision's table
        (lambda: CifarResNet(input_shape=COLOUR, num_classes=10, depth=20), 269_722),  # He et al. 2015, table 6: 0.27M
        (lambda: CifarResNet(input_shape=COLOUR, num_classes=10, depth=32), 464_154),  # 0.46M
        (lambda: CifarResNet(input_shape=COLOUR, num_classes=10, depth=56), 853_018),  # 0.85M
        (lambda: CifarResNet(input_shape=COLOUR, num_classes=10, depth=110), 1_727_962),  # 1.7M
        (lambda: make("logistic"), 650),
        (lambda: MLP(input_shape=GREY, num_classes=10, hidden=[128]), 784 * 128 + 128 + 1290),
        (lambda: LSTM(input_shape=GREY, num_classes=10, hidden=16), 4 * 16 * (28 + 16 + 2) + 170),
        (lambda: VGG(input_shape=COLOUR, num_classes=10, batch_norm=False).features, 14_714_688),  # without the top
        (lambda: VGG(input_shape=COLOUR, num_classes=10).features, 14_714_688 + 4224),  # a gamma instead of each bias
    ],
)
def test_parameter_counts_are_the_published_ones(model, parameters):
    assert count(model()) == parameters


def test_logistic_starts_at_the_uniform_guess_and_computes_an_affine_map():
    model, x = make("logistic", COLOUR), images(COLOUR)
    assert F.cross_entropy(model(x), torch.tensor([0, 1])).item() == pytest.approx(math.log(10))
    model = randomise(model)
    expected = x.reshape(2, -1).numpy() @ model.linear.weight.detach().numpy().T + model.linear.bias.detach().numpy()
    np.testing.assert_allclose(model(x).detach().numpy(), expected, atol=1e-5)


def test_logistic_without_bias_has_only_the_matrix():
    assert count(make("logistic", bias=False)) == 640


def test_mlp_equals_the_formula_in_numpy():
    model, x = randomise(make("mlp", hidden=[7, 5], activation="tanh")), images(DIGIT)
    h = x.reshape(2, -1).numpy()
    (w1, b1, w2, b2, w3, b3) = (p.detach().numpy() for p in model.parameters())
    h = np.tanh(np.tanh(h @ w1.T + b1) @ w2.T + b2) @ w3.T + b3
    np.testing.assert_allclose(model(x).detach().numpy(), h, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_initial_weights_of_a_deep_mlp_keep_the_signal_size(activation):
    model, x = make("mlp", GREY, hidden=[512] * 12, activation=activation), images(GREY, 64).flatten(1)
    first, last = (model.layers[: 2 * depth](x).square().mean().item() for depth in (1, 12))
    # He et al. 2015, equation 10: the mean square of a ReLU layer stays; GELU loses a little more in every layer.
    assert 0.6 < last / first < 1.6 if activation == "relu" else 1e-3 < last / first < 1.0


def test_tanh_mlp_and_output_layer_have_glorot_initial_weights():
    tanh = make("mlp", hidden=[100], activation="tanh").layers
    for layer in (tanh[0], tanh[-1], make("mlp", hidden=[100]).layers[-1]):
        bound = math.sqrt(6 / (layer.in_features + layer.out_features))  # Glorot & Bengio 2010, equation 16
        assert 0.95 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


def test_mlp_batch_norm_normalises_before_the_activation():
    model, x = make("mlp", batch_norm=True, hidden=[16]), images(DIGIT, 64)
    before = model.layers[:2](x.flatten(1))
    torch.testing.assert_close(before.mean(0), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(before.var(0, unbiased=False), torch.ones(16), atol=1e-3, rtol=0)
    assert model.layers[0].bias is None


def test_cnn_parameters_do_not_depend_on_the_image_size_but_on_its_channels():
    assert count(make("cnn", DIGIT)) == count(make("cnn", GREY)) == count(make("cnn", COLOUR)) - 2 * 9 * 8


@pytest.mark.parametrize("side", [4, 5, 7, 8, 28])
def test_cnn_trains_on_a_batch_of_one(side):
    shape = (1, side, side)
    make("cnn", shape, widths=[8] * 6)(images(shape, batch=1)).sum().backward()


def test_cnn_head_sees_the_mean_of_every_feature_map():
    model, x = make("cnn").eval(), images(DIGIT)
    torch.testing.assert_close(model(x), model.head(F.adaptive_avg_pool2d(model.features(x), 1).flatten(1)))


def test_cnn_pooling_ignores_where_a_shape_stands():
    model = make("cnn", (1, 40, 40)).eval()
    one, other = torch.zeros(1, 1, 40, 40), torch.zeros(1, 1, 40, 40)
    one[..., 10:14, 10:14], other[..., 18:22, 22:26] = 1, 1  # moved by multiples of the stride, away from the border
    torch.testing.assert_close(model(one), model(other))


def test_lstm_equals_the_recurrence_in_numpy():
    model, x = randomise(make("lstm", (3, 5, 4), hidden=6)), images((3, 5, 4))
    w_x, w_h, b_x, b_h = (p.detach().numpy() for p in model.lstm.parameters())
    h = c = np.zeros((2, 6), np.float32)
    for row in x.numpy().transpose(2, 0, 1, 3).reshape(5, 2, 12):
        i, f, g, o = np.split(row @ w_x.T + b_x + h @ w_h.T + b_h, 4, axis=1)
        c = c / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        h = np.tanh(c) / (1 + np.exp(-o))
    expected = h @ model.head.weight.detach().numpy().T + model.head.bias.detach().numpy()
    np.testing.assert_allclose(model(x).detach().numpy(), expected, atol=1e-5)


def test_lstm_columns_may_be_permuted_with_the_input_weights_but_rows_may_not():
    model, x = randomise(make("lstm", GREY)), images(GREY)
    order = torch.randperm(28)
    permuted = copy.deepcopy(model)
    permuted.lstm.weight_ih_l0.data = model.lstm.weight_ih_l0.data[:, order]
    torch.testing.assert_close(permuted(x[..., order]), model(x))
    assert not torch.allclose(model(x[:, :, order]), model(x), atol=1e-3)


def test_lstm_starts_with_open_forget_gates_and_orthogonal_recurrence():
    model = make("lstm", layers=2, hidden=8, forget_bias=1.5)
    for layer in range(2):
        gates = [getattr(model.lstm, f"bias_{kind}_l{layer}").view(4, 8) for kind in ("ih", "hh")]
        assert torch.equal(sum(gates), torch.tensor([0, 1.5, 0, 0]).view(4, 1).expand(4, 8))
        for gate in getattr(model.lstm, f"weight_hh_l{layer}").chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("error")
def test_lstm_dropout_of_one_layer_does_not_warn():
    make("lstm", dropout=0.5, layers=1)


@pytest.mark.parametrize("depth", [18, 50])
def test_resnet_equals_torchvisions_on_a_large_image(depth):
    theirs = getattr(torchvision.models, f"resnet{depth}")(num_classes=10).eval()
    ours = make(f"resnet{depth}", (3, 224, 224)).eval()
    ours.load_state_dict(theirs.state_dict())
    x = images((3, 224, 224), batch=1)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize(("shape", "side"), [((1, 64, 64), 8), ((1, 65, 65), 3), ((3, 32, 32), 4), ((3, 64, 96), 2)])
def test_resnet_keeps_small_images_large_until_the_last_stage(shape, side):
    model = make("resnet18", shape).eval()
    sizes = []
    model.layer4.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-2]))
    with torch.no_grad():
        model(images(shape))
    assert sizes == [side]


def test_resnet_stem_can_be_chosen():
    assert make("resnet18", (1, 96, 96), stem="cifar").conv1.stride == (1, 1)
    assert make("resnet18", COLOUR, stem="imagenet").conv1.stride == (2, 2)


@pytest.mark.parametrize("name", sorted(CONVOLUTIONAL))
def test_convolutions_have_he_initial_weights(name):
    for layer in make(name, small=False).modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            tolerance = 5 / math.sqrt(2 * layer.weight.numel())  # five standard errors
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=tolerance)
            assert layer.bias is None


@pytest.mark.parametrize("name", ["cnn", "resnet8", "vgg"])
def test_heads_start_small_and_without_bias(name):
    head = make(name, num_classes=100).head
    assert head.weight.std().item() == pytest.approx(0.01, rel=0.15)
    assert not head.bias.any()


def test_vit_embeds_grey_patches_with_the_initial_weights_of_colour_ones():
    for channels in (1, 2, 3):
        weight = make("vit", (channels, 32, 32), small=False).conv_proj.weight
        assert weight.std().item() == pytest.approx(math.sqrt(1 / (channels * 16)), rel=0.1)


@pytest.mark.parametrize("name", ["resnet8", "resnet18"])
def test_zero_init_residual_starts_every_block_as_its_shortcut(name):
    model = make(name, COLOUR, zero_init_residual=True)
    blocks = [m for m in model.modules() if type(m).__name__ == "BasicBlock"]
    for block in blocks:
        x = images((block.conv1.in_channels, 6, 6))
        shortcut = x if block.downsample is None else block.downsample(x)
        torch.testing.assert_close(block(x), shortcut.relu())
        assert not block.bn2.weight.any()
        assert block.bn1.weight.all()
    assert len(blocks) == {"resnet8": 3, "resnet18": 8}[name]


def test_cifar_resnet_shortcut_is_a_strided_copy_padded_with_zeros():
    block = CifarResNet(input_shape=COLOUR, num_classes=10).blocks[1]
    x = images((16, 5, 5))
    out = block.downsample(x)
    assert out.shape == (2, 32, 3, 3)
    assert torch.equal(out[:, :16], F.avg_pool2d(x, 1, stride=2))
    assert not out[:, 16:].any()


@pytest.mark.parametrize(("depth", "letter"), [(11, "A"), (13, "B"), (16, "D"), (19, "E")])
def test_vgg_features_equal_torchvisions_on_cifar(depth, letter):
    theirs = make_layers(cfgs[letter])
    torch.manual_seed(0)
    ours = VGG(input_shape=COLOUR, num_classes=10, depth=depth, batch_norm=False).features
    assert [type(layer) for layer in ours] == [type(layer) for layer in theirs]
    if depth == 11:
        theirs.load_state_dict(ours.state_dict())
        assert torch.equal(ours(images(COLOUR)), theirs(images(COLOUR)))


@pytest.mark.parametrize(("side", "pools"), [(3, 1), (8, 3), (28, 4), (31, 4), (32, 5), (224, 5)])
def test_vgg_leaves_out_the_pools_that_would_leave_no_pixel(side, pools):
    model = make("vgg", (1, side, side))
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in model.features) == pools


def test_vit_does_not_care_about_the_order_of_patches_when_positions_move_along():
    model, x = randomise(make("vit")).eval(), images(DIGIT)  # 4 x 4 patches of 2 px
    swapped = torch.cat([x[:, :, 4:], x[:, :, :4]], dim=2)
    moved = copy.deepcopy(model)
    positions = model.encoder.pos_embedding.data
    moved.encoder.pos_embedding.data = torch.cat([positions[:, :1], positions[:, 9:], positions[:, 1:9]], dim=1)
    torch.testing.assert_close(moved(swapped), model(x), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(swapped), model(x), atol=1e-4)


def test_vit_equals_torchvisions_on_a_colour_image():
    theirs = torchvision.models.VisionTransformer(32, 4, 2, 4, 32, 64, num_classes=10).eval()
    ours = make("vit", COLOUR).eval()
    ours.load_state_dict(randomise(theirs).state_dict())
    assert torch.equal(ours(images(COLOUR)), theirs(images(COLOUR)))


@pytest.mark.parametrize(("side", "patch"), [(7, 1), (8, 2), (28, 4), (32, 4), (64, 8), (96, 12), (224, 28)])
def test_vit_picks_the_patch_that_its_documentation_says(side, patch):
    assert fitting_patch(None, side) == patch


@given(side=st.integers(1, 300))
def test_vit_picks_a_divisor_with_16_to_64_patches_or_names_the_divisors(side):
    counts = {patch: (side // patch) ** 2 for patch in range(1, side + 1) if side % patch == 0}
    if any(16 <= n <= 64 for n in counts.values()):
        assert 16 <= counts[fitting_patch(None, side)] <= 64
    else:
        with pytest.raises(ConfigError, match=rf"model.patch_size=null .* {', '.join(map(str, counts))}\.$"):
            fitting_patch(None, side)


# --- bad input --------------------------------------------------------------------------------------------------------

BAD = [
    ("logistic", {"bias": "false"}, "model.bias='false' is not possible; allowed is true or false"),
    ("mlp", {"hidden": [-3]}, r"model.hidden=\[-3\] must be a list"),
    ("mlp", {"hidden": [64, 0]}, "model.hidden"),
    ("mlp", {"hidden": []}, "model.hidden"),
    ("mlp", {"hidden": 128}, "model.hidden=128 is not possible; allowed is a list of integers"),
    ("mlp", {"hidden": "128"}, "model.hidden"),
    ("mlp", {"hidden": [1.5]}, "model.hidden"),
    ("mlp", {"dropout": 1.5}, r"model.dropout=1.5 must be a number in \[0, 1\)"),
    ("mlp", {"activation": "swish"}, "model.activation=swish must be one of relu, gelu, tanh"),
    ("mlp", {"activation": None}, "model.activation=null"),
    ("mlp", {"batch_norm": 1}, "model.batch_norm=1"),
    ("cnn", {"widths": [32, -64]}, "model.widths"),
    ("cnn", {"dropout": "much"}, "model.dropout=much"),
    ("lstm", {"hidden": 0}, "model.hidden=0 must be a whole number of at least 1"),
    ("lstm", {"layers": 0}, "model.layers=0"),
    ("lstm", {"layers": True}, "model.layers=true"),
    ("lstm", {"dropout": 1.0}, "model.dropout=1.0"),
    ("lstm", {"forget_bias": math.nan}, "model.forget_bias=nan is not possible; allowed is a number"),
    ("resnet8", {"depth": 9}, "model.depth=9 must be 6n .* 2"),
    ("resnet8", {"depth": 2}, "model.depth=2 must be 6n"),
    ("resnet8", {"width": 0}, "model.width=0"),
    ("resnet9", {"width": 0}, "model.width=0"),
    ("resnet9", {"logit_scale": 0}, "model.logit_scale=0 must be a finite number above 0"),
    ("resnet8", {"zero_init_residual": None}, "model.zero_init_residual=null"),
    ("resnet18", {"depth": 20}, "model.depth=20 must be one of 18, 34, 50, 101, 152"),
    ("resnet18", {"depth": "18"}, "model.depth='18'"),
    ("resnet50", {"stem": "tiny"}, "model.stem=tiny must be one of auto, cifar, imagenet"),
    ("resnet50", {"zero_init_residual": "yes"}, "model.zero_init_residual=yes"),
    ("vgg", {"depth": 12}, "model.depth=12 must be one of 11, 13, 16, 19"),
    ("vgg", {"depth": 16.0}, "model.depth=16.0"),
    ("vgg", {"width": -1}, "model.width=-1"),
    ("vgg", {"batch_norm": "no"}, "model.batch_norm=no"),
    ("vgg", {"dropout": -0.1}, "model.dropout=-0.1"),
    ("vit", {"patch_size": 3}, "model.patch_size=3 must divide the image side of 8 px: 1, 2, 4, 8, or null"),
    ("vit", {"patch_size": 0}, "model.patch_size=0"),
    ("vit", {"patch_size": 2.0}, "model.patch_size=2.0"),
    ("vit", {"patch_size": True}, "model.patch_size=true"),
    ("vit", {"heads": 3}, "model.heads=3 must divide model.dim=32"),
    ("vit", {"heads": 0}, "model.heads=0"),
    ("vit", {"dim": 0}, "model.dim=0"),
    ("vit", {"depth": 0}, "model.depth=0"),
    ("vit", {"mlp_ratio": 0}, "model.mlp_ratio=0 must be a finite number above 0"),
    ("vit", {"mlp_ratio": math.inf}, "model.mlp_ratio=inf"),
    ("vit", {"dropout": 1}, "model.dropout=1"),
    ("vit", {"attention_dropout": 2}, "model.attention_dropout=2"),
]


@pytest.mark.parametrize(("name", "fields", "message"), BAD)
def test_a_wrong_value_is_named_in_one_sentence(name, fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make(name, **fields)
    assert "\n" not in str(caught.value)


@every_model
def test_every_field_has_a_wrong_value_that_is_refused(name):
    tried = {
        key
        for model, fields, _ in BAD
        if get_class(YAMLS[model]._target_) == get_class(YAMLS[name]._target_)
        for key in fields
    }
    assert tried == YAMLS[name].keys() - {"_target_"}


@every_model
@pytest.mark.parametrize("shape", [(5,), (), (8, 8), (1, 1, 8, 8), (0, 8, 8), (1, -8, 8), (1, 8.0, 8)])
def test_what_is_no_image_is_refused(name, shape):
    with pytest.raises(ConfigError, match=r"images of shape \(channels, height, width\).*input_shape is \("):
        make(name, shape)


@every_model
@pytest.mark.parametrize("num_classes", [0, 1, -1, 2.5, None])
def test_what_is_no_classification_is_refused(name, num_classes):
    with pytest.raises(ConfigError, match="at least 2 classes, but the dataset's num_classes is"):
        make(name, num_classes=num_classes)


@pytest.mark.parametrize("name", sorted(CONVOLUTIONAL))
def test_images_smaller_than_the_kernel_are_refused(name):
    with pytest.raises(ConfigError, match=r"at least 3 x 3 px, but .* \(1, 2, 9\)"):
        make(name, (1, 2, 9))
    assert make(name, (1, 3, 3)).eval()(images((1, 3, 3))).isfinite().all()


def test_vit_refuses_images_that_are_not_square():
    with pytest.raises(ConfigError, match="square images, but the dataset's are 8 x 9 px"):
        make("vit", (1, 8, 9))


@given(dropout=st.floats().filter(lambda p: not 0 <= p < 1))
@settings(deadline=None)
def test_no_float_outside_the_unit_interval_is_a_dropout(dropout):
    with pytest.raises(ConfigError, match=r"model\.dropout="):
        make("mlp", dropout=dropout)


@given(
    hidden=st.lists(st.integers(1, 40), min_size=1, max_size=4),
    dropout=st.floats(0, 0.99),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
)
@settings(deadline=None, max_examples=30)
def test_mlp_takes_any_widths_and_image_shapes(hidden, dropout, shape):
    model = make("mlp", shape, hidden=hidden, dropout=dropout)
    assert model(images(shape, 3)).shape == (3, 10)
    sizes = [math.prod(shape), *hidden, 10]
    assert count(model) == sum((a + 1) * b for a, b in pairwise(sizes))


@given(
    side=st.integers(3, 40),
    other=st.integers(3, 40),
    channels=st.integers(1, 4),
    name=st.sampled_from(["cnn", "vgg", "resnet8", "lstm"]),
)
@settings(deadline=None, max_examples=30)
def test_convolutional_and_recurrent_models_take_any_image(side, other, channels, name):
    shape = (channels, side, other)
    assert make(name, shape)(images(shape)).isfinite().all()
