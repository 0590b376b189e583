"""Generative adversarial networks: models, losses, average, measures, and whole runs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from killing import content, differences, run
from torch import nn

from steepest.assemble import assemble
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.evaluate import load, parse, predict_command
from steepest.launchers.machine import settle
from steepest.metrics.feature_net import Seen
from steepest.metrics.generated import comparison, density_and_coverage, frechet_distance
from steepest.models.adversaries import halvings
from steepest.models.dcgan import DCGAN
from steepest.models.resnet_gan import ResNetGAN
from steepest.runs.folder import RunFolder
from steepest.runs.weights import state_of
from steepest.tasks.adversarial import discriminator_loss, generator_loss, gradient_square
from steepest.tasks.averaging import Average
from steepest.tasks.gallery import MOMENTS, Gallery
from steepest.train import train

QUICK = ["experiment=gan", "threads=1", "callbacks=none", "logger=none", "task.num_samples=200", "model.width=4"]
SHORT = [*QUICK, "batch.size=16", "budget.steps=3", "model.latent_dim=5"]


@pytest.fixture(scope="session")
def nets(tmp_path_factory):
    """A cache of feature nets for all tests: one training."""
    return f"paths.cache_dir={tmp_path_factory.mktemp('nets')}"


def trained(*words):
    train(compose([*words]))
    [path] = Path("runs").glob("r*")
    return RunFolder(path)


def assembled(*words):
    cfg = compose([*words])
    settle(cfg)
    return assemble(cfg)


def last(folder):
    return state_of(folder.checkpoint("last"))


# Models


@pytest.mark.parametrize("model", [DCGAN, ResNetGAN])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 13, 13), (3, 64, 64)])
def test_a_generator_makes_images_of_the_data_and_a_discriminator_a_logit_of_each(model, shape):
    made = model(input_shape=shape, latent_dim=6, width=4)
    images = made.generator(torch.randn(5, 6))
    assert images.shape == (5, *shape)
    assert images.abs().max() <= 1
    assert made.discriminator(images).shape == (5,)


def test_images_are_halved_down_to_four_pixels_and_twice_at_least():
    assert [halvings(side) for side in (8, 28, 32, 64, 9)] == [
        [8, 4, 2],
        [28, 14, 7, 4],
        [32, 16, 8, 4],
        [64, 32, 16, 8, 4],
        [9, 5, 3],
    ]


def test_dcgan_has_the_layers_and_the_initial_weights_of_the_paper():
    torch.manual_seed(0)
    options = {"discriminator_batch_norm": True, "spectral_norm": False}
    made = DCGAN(input_shape=(3, 64, 64), latent_dim=100, width=128, **options).requires_grad_(False)
    maps = [layer.in_channels for layer in made.generator if isinstance(layer, nn.ConvTranspose2d)]
    assert maps == [1024, 512, 256, 128]
    assert [layer.out_channels for layer in made.discriminator if isinstance(layer, nn.Conv2d)] == maps[::-1]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in made.generator) == 4
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in made.discriminator) == 3
    for layer in made.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            assert layer.weight.std() == pytest.approx(0.02, rel=0.05)
            assert abs(layer.weight.mean()) < 1e-3
            assert layer.bias is None or not layer.bias.any()
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.weight.mean() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("model", [DCGAN, ResNetGAN])
def test_the_largest_singular_value_of_a_normalised_weight_is_one(model):
    torch.manual_seed(0)
    discriminator = model(input_shape=(1, 8, 8), width=4, spectral_norm=True).discriminator
    for _ in range(200):
        discriminator(torch.randn(2, 1, 8, 8))
    layers = [layer for layer in discriminator.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) >= 3
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2) == pytest.approx(1, abs=1e-3)
    assert not any("parametrizations" in name for name, _ in model(input_shape=(1, 8, 8)).generator.named_parameters())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("model.width=0", "model.width=0 must be a whole number of at least 1."),
        ("model.latent_dim=0", "model.latent_dim=0 must be a whole number of at least 1."),
        ("dataset=noise dataset.shape=[3,7,7]", "model=dcgan needs images of at least 8 x 8 px"),
        ("dataset=noise dataset.shape=[3,8,9]", "model=dcgan makes square images, but the dataset's are 8 x 9 px."),
        ("task.r1_gamma=-1", "task.r1_gamma=-1.* is not possible; allowed are numbers from 0."),
        ("task.r1_interval=0", "task.r1_interval=0 is not possible; allowed are whole numbers from 1."),
        ("task.discriminator_steps=0", "task.discriminator_steps=0 is not possible; allowed are whole numbers from 1."),
        ("task.discriminator_lr_multiple=0", "task.discriminator_lr_multiple=0.* allowed are numbers above 0."),
        ("task.ema_decay=1", "task.ema_decay=1.* is not possible; allowed are numbers from 0 to below 1."),
        ("task.num_samples=1", "task.num_samples=1 is not possible; allowed are null and whole numbers from 2."),
        ("task.loss=wasserstein", "task.loss=.?wasserstein.? is not possible; allowed are nonsaturating and hinge."),
        ("task.r1_gamma=much", "task.r1_gamma=much is not possible; allowed is a number."),
        ("model=cnn", "task=gan needs generator, which model=cnn does not give"),
        ("task=classification", "model=dcgan cannot train on batches of 64 x 1 x 8 x 8 of dataset=digits"),
        ("dataset=cartpole", "task=gan needs input_shape, which dataset=cartpole does not give"),
        ("dataset.validation_fraction=0.0005", "has 1 validation and 359 test images, which task=gan cannot measure"),
        ("dataset.crop_padding=2", "dataset.crop_padding=2 gives images black borders, which task=gan would learn"),
        ("optimizer=natural_gradient", "optimizer=natural_gradient needs a model that gives probabilities"),
        ("optimizer=lbfgs clip.norm=1", "optimizer=lbfgs evaluates the loss several times a step"),
    ],
)
def test_bad_input_is_said_in_a_sentence(words, said):
    with pytest.raises(ConfigError, match=said):
        assembled("experiment=gan", *words.split())


# Losses


def test_the_losses_are_their_formulas():
    real, fake = torch.randn(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigmoid = torch.sigmoid
    loss = discriminator_loss("nonsaturating", real, fake)
    assert loss == pytest.approx(float(-(sigmoid(real).log().mean() + (1 - sigmoid(fake)).log().mean())), rel=1e-14)
    assert generator_loss("nonsaturating", fake) == pytest.approx(float(-sigmoid(fake).log().mean()), rel=1e-14)
    loss = discriminator_loss("hinge", real, fake)
    assert loss == pytest.approx(float((1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean()), rel=1e-14)
    assert generator_loss("hinge", fake) == pytest.approx(float(-fake.mean()), rel=1e-14)


def test_the_penalty_of_a_linear_discriminator_is_the_square_of_its_weight():
    head = nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)).double()
    images = torch.randn(5, 3, 2, 2, dtype=torch.float64)
    square = gradient_square(head, images)
    weight = head[1].weight
    assert square.item() == pytest.approx(weight.square().sum().item(), rel=1e-12)
    square.backward()
    torch.testing.assert_close(weight.grad, 2 * weight.detach())
    assert head.training


def test_the_penalty_is_the_mean_over_images_of_the_squared_norm_of_each_gradient():
    network = DCGAN(input_shape=(1, 8, 8), width=2, discriminator_batch_norm=True).discriminator.double()
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    network(images)  # statistics
    found = gradient_square(network, images)
    network.eval()
    squares = []
    for image in images:
        x = image[None].clone().requires_grad_()
        network(x).backward()
        squares.append(x.grad.square().sum())
    assert found.item() == pytest.approx(torch.stack(squares).mean().item(), rel=1e-10)


# Average


def test_the_average_is_its_closed_form():
    network, weights = nn.Linear(2, 1).double(), []
    average = Average(network, 0.5)
    begun = network.weight.detach().clone()
    for t in range(1, 12):
        with torch.no_grad():
            network.weight.add_(torch.randn(1, 2))
        weights.append(network.weight.detach().clone())
        average.update(network, t)
    decays = [min(0.5, (1 + t) / (10 + t)) for t in range(1, 12)]
    assert decays[0] == 2 / 11
    assert decays[-1] == 0.5
    expected = begun * math.prod(decays)
    for t, (weight, decay) in enumerate(zip(weights, decays, strict=True)):
        expected += weight * (1 - decay) * math.prod(decays[t + 1 :])
    torch.testing.assert_close(average.network.weight, expected)
    torch.testing.assert_close(average(torch.ones(1, 2).double())[0], expected.sum(1) + average.network.bias)


def test_the_average_has_the_buffers_of_the_network_and_no_parameters():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    average = Average(network, 0.9)
    network(torch.randn(8, 2))
    average.update(network, 1)
    assert list(average.parameters()) == []
    torch.testing.assert_close(average.network[1].running_mean, network[1].running_mean)
    assert average.network[1].num_batches_tracked == 1
    assert not average.network.requires_grad_(True)[0].weight.requires_grad
    assert len([p for p in network.parameters() if p.requires_grad]) == 4


def test_the_average_stays_in_float32_and_follows_steps_too_small_for_bfloat16():
    network = nn.Linear(1, 1, bias=False)
    average = Average(network, 0.0)
    average.update(network, 1)
    average.decay = 0.999
    network, average = network.to(torch.bfloat16), average.to(torch.bfloat16)
    assert average.network.weight.dtype == torch.float32
    before = average.network.weight.clone()
    with torch.no_grad():
        network.weight.add_(1)
    average.update(network, 10_000)
    assert (average.network.weight - before).item() == pytest.approx(0.001, rel=0.01)
    assert average.double().network.weight.dtype == torch.float64


# Measures


def exactly(mean, deviations, count=500):
    """Points with exactly this mean, and exactly these standard deviations along uncorrelated axes."""
    points = np.random.default_rng(len(deviations)).normal(size=(count, len(deviations)))
    points -= points.mean(0)
    white = points @ np.linalg.inv(np.linalg.cholesky(np.cov(points.T))).T
    return torch.from_numpy(white * deviations + mean).float()


def test_the_frechet_distance_of_gaussians_is_its_closed_form():
    a, b = exactly([1.0, 2.0, 3.0], [1.0, 2.0, 0.5]), exactly([0.0, 2.0, 5.0], [3.0, 1.0, 0.5], 300)
    assert frechet_distance(a, b) == pytest.approx((1 + 4) + (4 + 1), rel=1e-4)
    rotation = torch.linalg.qr(torch.randn(3, 3))[0]
    assert frechet_distance(a @ rotation, b @ rotation) == pytest.approx(10, rel=1e-4)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)


def test_the_frechet_distance_of_fewer_images_than_features_is_finite():
    a, b = torch.randn(20, 64), torch.randn(30, 64)
    assert 0 < frechet_distance(a, b) < math.inf
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-3)
    assert frechet_distance(a, b * math.nan) == math.inf


def test_density_and_coverage_are_their_definitions():
    real, fake = torch.randn(2, 40, 3, generator=torch.Generator().manual_seed(0))
    fake = fake[:30] * 1.5
    inside = np.zeros((40, 30), bool)
    for i in range(40):
        radius = sorted(float((real[i] - real[j]).norm()) for j in range(40) if j != i)[4]
        inside[i] = [float((real[i] - point).norm()) < radius for point in fake]
    assert density_and_coverage(real, fake) == (inside.sum() / (5 * 30), inside.any(1).mean())
    assert density_and_coverage(real, real + 100) == (0, 0)


def test_density_and_coverage_of_the_same_distribution_are_as_expected():
    real, fake = torch.randn(2, 1500, 4, generator=torch.Generator().manual_seed(0))
    density, coverage = density_and_coverage(real, fake)
    assert density == pytest.approx(1, abs=0.05)
    assert coverage == pytest.approx(1 - 2**-5, abs=0.02)


def test_lost_classes_are_counted():
    features = torch.randn(100, 4)
    real = Seen(features, 50 * F.one_hot(torch.arange(100) % 5, 5).float())
    fake = Seen(features, 50 * F.one_hot(torch.tensor([0] * 60 + [1] * 39 + [2]), 5).float())
    found = comparison(real, fake)
    assert found["classes_found"] == 2  # one of class 2 is less than a tenth of its share
    assert found["class_distance"] == pytest.approx((0.4 + 0.19 + 0.19 + 0.2 + 0.2) / 2)
    assert found["confidence"] == pytest.approx(1)
    same = comparison(real, real)
    assert (same["classes_found"], same["class_distance"]) == (5, 0)
    assert same["frechet_distance"] == pytest.approx(0, abs=1e-4)


def test_a_generator_that_gives_nan_is_infinitely_far(nets):
    parts = assembled(*SHORT, nets)
    with torch.no_grad():
        parts.task.average.network[0].weight.fill_(math.nan)
    found = parts.task.gallery.measures(parts.task.average, "val", torch.device("cpu"))
    assert found["frechet_distance"] == math.inf
    parts.task.gallery.keep(parts.task.average, torch.device("cpu"))
    assert parts.task.gallery.moments == []


def test_measures_use_no_random_number_of_the_training(nets):
    task = assembled(*SHORT, nets).task
    before = torch.get_rng_state()
    first = task.gallery.measures(task.average, "val", torch.device("cpu"))
    assert torch.equal(torch.get_rng_state(), before)
    task.gallery._net = None  # from the cache now
    assert task.gallery.measures(task.average, "val", torch.device("cpu")) == first
    assert first["feature_accuracy"] > 0.95
    grid = task.gallery.grid(task.average, torch.device("cpu"))
    again = assembled(*SHORT, nets, "model.batch_norm=false").task
    assert again.gallery.seed == task.gallery.seed == 0
    assert grid.shape == (64, 1, 8, 8)
    assert grid.dtype == torch.uint8


def test_of_very_many_moments_some_are_kept_evenly(monkeypatch):
    gallery = Gallery(None, 3, None, "")
    moments = iter(range(1000))
    monkeypatch.setattr(gallery, "grid", lambda *_: next(moments))
    offered = 0
    while offered < 300:
        gallery.keep(None, None)
        offered += 1
    assert len(gallery.moments) <= MOMENTS
    state = gallery.state_dict()
    other = Gallery(None, 3, None, "")
    other.load_state_dict(state)
    assert other.state_dict() == state


# Steps


@pytest.mark.parametrize("std", [0.1, 0.5, 2.0])
def test_images_are_in_minus_one_to_one_whatever_the_data_set_subtracts(std):
    parts = assembled(*SHORT, f"dataset.std=[{std}]", "dataset.mean=[0.3]")
    pixels = torch.arange(256, dtype=torch.uint8)[:, None, None, None]
    given = parts.data.plain(pixels)
    torch.testing.assert_close(parts.task.rescaled(given), pixels / 127.5 - 1, rtol=0, atol=1e-6)


PLAIN = [
    "model.batch_norm=false",
    "model.spectral_norm=false",
    "optimizer=sgd",
    "optimizer.lr=0.1",
    "precision=fp64",
    "task.r1_interval=2",
]


def test_steps_are_those_of_a_plain_loop(nets):
    words = [*SHORT, *PLAIN, "task.discriminator_steps=2", "task.discriminator_lr_multiple=3", "task.r1_gamma=0.7"]
    folder = trained(*words, "schedule=polynomial", "schedule.power=1", nets)
    parts = assembled(*words)
    generator, discriminator = parts.task.model.generator.double(), parts.task.model.discriminator.double()
    average = {name: p.detach().clone() for name, p in generator.named_parameters()}
    batches = iter(parts.data.train_dataloader())
    torch.manual_seed(0)
    assembled(*words)  # leaves the random numbers where training begins
    for step in range(3):
        real = parts.task.double().rescaled(next(batches)[0].double())
        lr = 0.1 * (1 - step / 3)
        for turn in range(2):
            with torch.no_grad():
                fake = generator(torch.randn(16, 5, dtype=torch.float64))
            loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake)).mean()
            if (2 * step + turn) % 2 == 0:
                x = real.clone().requires_grad_()
                [slope] = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
                loss = loss + 2 * 0.7 / 2 * slope.square().sum((1, 2, 3)).mean()
            down(loss, discriminator, 3 * lr)
        fake = generator(torch.randn(16, 5, dtype=torch.float64))
        down(F.softplus(-discriminator(fake)).mean(), generator, lr)
        d = min(0.999, (2 + step) / (11 + step))
        for name, p in generator.named_parameters():
            average[name] = d * average[name] + (1 - d) * p.detach()
    state = last(folder)
    for name, p in parts.task.model.named_parameters():
        torch.testing.assert_close(state[f"model.{name}"], p.detach(), rtol=1e-9, atol=1e-12)
    for name, value in average.items():
        torch.testing.assert_close(state[f"average.network.{name}"], value, rtol=1e-9, atol=1e-12)


def down(loss, network, lr):
    parameters = list(network.parameters())
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p.data.sub_(g, alpha=lr)


def test_micro_batches_give_the_step_of_the_whole_batch(nets):
    whole = last(trained(*SHORT, *PLAIN, nets, "paths.runs_dir=runs"))
    parts = ["batch.micro_size=4", "paths.runs_dir=parts"]
    train(compose([*SHORT, *PLAIN, nets, *parts]))
    [folder] = Path("parts").glob("r*")
    for name, value in last(RunFolder(folder)).items():
        torch.testing.assert_close(value, whole[name], rtol=1e-9, atol=1e-12)


def test_the_gradient_of_each_network_is_clipped(nets):
    words = [*SHORT, *PLAIN, "budget.steps=1", "clip.norm=1e-6", "schedule=constant"]
    task = assembled(*words).task
    before = {name: p.detach().double() for name, p in task.model.named_parameters()}
    after = last(trained(*words, nets))
    for network in ("generator", "discriminator"):
        moves = [(after[f"model.{name}"] - x).square().sum() for name, x in before.items() if name.startswith(network)]
        assert torch.stack(moves).sum().sqrt() == pytest.approx(0.1 * 1e-6, rel=0.05)


def test_steps_examples_and_gradients_are_counted(nets):
    folder = trained(*SHORT, "task.discriminator_steps=2", nets, "log.every=1")
    assert folder.summary["opt_steps"] == 3
    assert folder.summary["examples"] == 48
    assert folder.summary["grad_evals"] == 9
    rows = [row for row in folder.rows() if "train/loss" in row]
    assert [row["opt_step"] for row in rows] == [1, 2, 3]
    assert {"train/d_loss", "train/g_loss", "train/d_real", "train/d_fake", "train/d_accuracy"} <= rows[0].keys()
    assert ["train/gradient_square" in row for row in rows] == [True, False, False]
    assert rows[0]["train/loss"] == pytest.approx(rows[0]["train/g_loss"] + rows[0]["train/d_loss"], rel=0.1)


# Runs


def test_a_killed_run_ends_as_one_that_was_left_alone(nets):
    words = [*QUICK, nets, "budget.steps=20", "log.every=3", "validation.every=6", "batch.size=32"]
    words += ["batch.micro_size=16", "checkpoint.every_steps=4", "task.discriminator_steps=2", "task.r1_interval=3"]
    alone, moments = run(words, runs_dir="alone")
    expected = content(alone)
    assert expected["status"] == "finished"
    folder, _ = run(words, [moments // 2], runs_dir="killed")
    assert "\n".join(differences(expected, content(folder))) == ""


def test_a_short_run_comes_nearer_and_is_drawn_and_evaluated(nets, capsys):
    words = [word for word in QUICK if not word.startswith(("model.", "callbacks"))]
    folder = trained(*words, nets, "budget.steps=150", "batch.size=32", "validation.every=50", "callbacks=default")
    distances = [row["val/frechet_distance"] for row in folder.rows() if "val/frechet_distance" in row]
    task = assembled(*words, nets).task
    initial = task.gallery.measures(task.average, "val", torch.device("cpu"))["frechet_distance"]
    assert len(distances) == 3
    assert min(distances) < 0.5 * initial
    assert folder.summary["headline"]["metric"] == "val/frechet_distance"
    assert folder.summary["metrics"]["val/frechet_floor"] < min(distances)
    drawn = {path.name for path in (folder.path / "pictures").iterdir()}
    assert {"samples.png", "training.gif", "feature_net.txt"} <= drawn
    assert "FD-cnn64" in (folder.path / "pictures/feature_net.txt").read_text()
    predict_command([str(folder.path)])
    lines = (folder.path / "predictions-test-last.csv").read_text().splitlines()
    assert lines[0] == "index,target,logit"
    assert len(lines) == 360
    trainer, task, loader, _ = load(parse("eval", [str(folder.path)]))
    trainer.test(task, loader, verbose=False)
    for name in ("frechet_distance", "coverage", "d_real"):
        assert float(trainer.callback_metrics[f"test/{name}"]) == pytest.approx(
            folder.summary["metrics"][f"test/{name}"], rel=1e-5
        )


@pytest.mark.parametrize(
    "words",
    [
        "optimizer=lion",
        "optimizer=kfac model.spectral_norm=false",
        "optimizer=kfac task.loss=hinge",
        "optimizer=lbfgs",
        "optimizer=newton optimizer.max_exact=10 optimizer.cg_iterations=2 model.batch_norm=false",
        "optimizer=schedule_free_adamw",
        "optimizer=schedule_free_adamw task.ema_decay=0",
        "optimizer=soap model=resnet_gan model.width=2",
        "precision=bf16_mixed",
        "precision=bf16_true",
        "batch=full batch.size=null batch.micro_size=500 model.width=2",
    ],
)
def test_optimizers_precisions_and_batches_train(words, nets):
    folder = trained(*SHORT, nets, *words.split(), "budget.steps=2", "validation.every=2")
    assert folder.summary["status"] == "finished"
    assert math.isfinite(folder.summary["headline"]["value"])
    assert folder.summary["opt_steps"] == 2


def test_an_experiments_values_are_for_its_own_optimizer_alone():
    own = compose(["experiment=gan"]).optimizer
    assert list(own.betas) == [0.0, 0.99]
    assert compose(["experiment=gan", "optimizer=lion"]).optimizer == compose(["optimizer=lion"]).optimizer
    assert compose(["experiment=gan", "optimizer.lr=3"]).optimizer.lr == 3


def test_several_devices_are_refused():
    with pytest.raises(ConfigError, match="is not possible on 2 devices; allowed is one"):
        assembled(*SHORT, "trainer=ddp_cpu")
