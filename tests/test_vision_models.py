"""ResNet-9; convolutional networks with the channels last in memory and in bfloat16; the experiments of vision."""

import random

import pytest
import torch
from killing import content, differences, run
from torch import nn
from torch.nn import functional as F

from steepest.assemble import assemble
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.models.resnet9 import ResNet9
from steepest.train import train

CONVOLUTIONAL = ("cnn", "resnet8", "resnet9", "resnet18", "resnet50", "vgg", "vit")
SMALL = {
    "resnet9": ["model.width=8"],
    "resnet50": ["model.zero_init_residual=true"],  # calm from the start
    "vgg": ["model.width=8"],
    "vit": ["model.dim=32", "model.depth=2"],
}
EXPERIMENTS = ("vision_cnn", "fashion_mnist_resnet", "cifar10_resnet")


def images(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def resnet9(shape=(3, 32, 32), width=8, **options):
    torch.manual_seed(0)
    return ResNet9(input_shape=shape, num_classes=10, width=width, **options)


# --- ResNet-9 ---------------------------------------------------------------------------------------------------------


def test_at_the_original_width_it_has_the_published_number_of_parameters():
    model = resnet9(width=64)
    norms = sum(p.numel() for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    assert sum(p.numel() for p in model.parameters()) - norms == 6_568_640  # convolutions and head


def test_it_computes_what_its_documentation_says():
    model, x = resnet9().eval(), images(2, 3, 32, 32)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [
        *((3, 8), (8, 16), (16, 16), (16, 16), (16, 32), (32, 64), (64, 64), (64, 64))
    ]
    for norm in norms:
        norm.running_var.uniform_(0.5, 2)
        norm.running_mean.uniform_(-1, 1)

    def layer(h, number, pool=False):
        h = F.conv2d(h, convolutions[number].weight, padding=1)
        h, norm = F.max_pool2d(h, 2) if pool else h, norms[number]
        return F.batch_norm(h, norm.running_mean, norm.running_var, norm.weight, norm.bias).relu()

    h = layer(layer(x, 0), 1, pool=True)
    h = h + layer(layer(h, 2), 3)
    h = layer(layer(h, 4, pool=True), 5, pool=True)
    h = h + layer(layer(h, 6), 7)
    assert h.shape == (2, 64, 4, 4)
    torch.testing.assert_close(model(x), 0.125 * h.amax((2, 3)) @ model.head.weight.T)


@pytest.mark.parametrize(("side", "remains"), [(3, 1), (4, 1), (8, 1), (15, 1), (16, 2), (28, 3), (32, 4)])
def test_a_pool_that_would_leave_no_pixel_is_left_out(side, remains):
    model = resnet9((1, side, side))
    assert model.features(images(2, 1, side, side)).shape == (2, 64, remains, remains)
    model(images(2, 1, side, side)).sum().backward()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"model\.width=0 must be a whole number of at least 1"),
        ({"width": 8.0}, r"model\.width=8\.0"),
        ({"logit_scale": 0}, r"model\.logit_scale=0 must be a finite number above 0"),
        ({"logit_scale": float("inf")}, r"model\.logit_scale=inf"),
        ({"shape": (3, 2, 32)}, r"model=resnet9 needs images of at least 3 x 3 px"),
    ],
)
def test_a_wrong_value_is_named_in_one_sentence(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        resnet9(**options)
    assert "\n" not in str(caught.value)


# --- channels last and bfloat16 ---------------------------------------------------------------------------------------


def losses(name, steps, *overrides):
    """The losses of plain steps of a run, and its parts."""
    cfg = compose(
        [
            *("dataset=digits", f"model={name}", "batch.size=16", "threads=1", *SMALL.get(name, [])),
            *(f"budget.steps={steps}", "budget.epochs=null", *overrides),
        ]
    )
    settle(cfg)
    parts = assemble(cfg)
    optimizer, found = parts.task.configure_optimizers(), []
    optimizer.param_groups[0]["lr"] = 0.01
    for batch, _ in zip(parts.data.train_dataloader(), range(steps), strict=False):
        loss = parts.task.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return torch.tensor(found), parts


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_every_image_model_trains_with_the_channels_last_as_with_them_first(name):
    first, _ = losses(name, 2)
    last, parts = losses(name, 2, "precision.channels_last=true")
    torch.testing.assert_close(last, first, rtol=1e-5, atol=1e-5)
    for layer in parts.task.model.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.is_contiguous(memory_format=torch.channels_last)


def test_channels_last_reaches_the_activations_of_a_network_whose_images_come_with_the_channels_first():
    _, parts = losses("resnet9", 1, "precision.channels_last=true", "dataset=noise")
    batch, seen = next(iter(parts.data.train_dataloader())), []
    for layer in parts.task.model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(lambda _, __, out: seen.append(out))
    parts.task.loss(batch)
    assert batch[0].is_contiguous()
    assert len(seen) == 8
    assert all(out.is_contiguous(memory_format=torch.channels_last) for out in seen)


def test_a_killed_run_in_bfloat16_with_the_channels_last_ends_as_one_that_was_left_alone():
    words = ["model=resnet9", "model.width=8", "precision=bf16_mixed", "precision.channels_last=true", "logger=none"]
    words += ["dataset.crop_padding=1", "optimizer.weight_decay=1e-3", "budget={steps:8,epochs:null}"]
    words += ["validation.every=4", "checkpoint.every_steps=3", "batch.size=64"]
    alone, moments = run(words, runs_dir="alone")
    expected = content(alone)
    assert expected["status"] == "finished"
    draw = random.Random(0)
    folder, _ = run(words, [draw.randint(moments // 3, moments)], runs_dir="killed")
    assert "\n".join(differences(expected, content(folder))) == ""


# --- experiments ------------------------------------------------------------------------------------------------------


def two_steps(*words):
    """The headline after two steps of a run in this process."""
    return train(compose([*words, "budget={steps:2,epochs:null}", "threads=1", "logger=none", "callbacks=none"]))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_values_of_an_experiment_are_for_its_own_optimizer_alone(name):
    own, other = compose([f"experiment={name}"]), compose([f"experiment={name}", "optimizer=adamw"])
    assert own.optimizer._target_.endswith("SGDMomentum")
    assert (own.optimizer.momentum, own.optimizer.weight_decay) == (0.9, 5e-4)
    assert (other.optimizer.lr, other.optimizer.weight_decay) == (1e-3, 0.01)
    assert compose([f"experiment={name}", "optimizer.lr=3"]).optimizer.lr == 3


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_train_as_recommended(name):
    cfg = compose([f"experiment={name}"])
    assert cfg.choices.schedule in ("cosine", "warmup_cosine", "step")
    assert 64 <= cfg.batch.size <= 256
    assert cfg.dataset.validation_fraction > 0


@pytest.mark.parametrize("optimizer", ["sgd_momentum", "adamw", "muon", "kfac", "lbfgs", "newton", "natural_gradient"])
def test_optimizers_of_every_reach_train_the_network_of_the_embedded_images(optimizer):
    assert 0 <= two_steps("experiment=vision_cnn", f"optimizer={optimizer}", "batch.size=16") <= 1


@pytest.mark.parametrize("optimizer", ["sgd_momentum", "kfac", "lbfgs", "shampoo"])
def test_optimizers_of_every_reach_train_in_bfloat16_with_the_channels_last(optimizer):
    small = ["dataset=noise", "dataset.num_examples=60", "batch.size=10", "model.width=4"]
    assert 0 <= two_steps("experiment=cifar10_resnet", f"optimizer={optimizer}", *small) <= 1


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "cifar100_hf", "image_folder"])
def test_the_experiment_composes_with_other_images_in_colour(dataset):
    cfg = compose(["experiment=cifar10_resnet", f"dataset={dataset}"])
    assert cfg.dataset.name == dataset
    assert cfg.optimizer.weight_decay == 5e-4
