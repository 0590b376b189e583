"""Generative adversarial networks."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.batch import BatchPlan
from steepest.datasets.images import ImageData
from steepest.errors import ConfigError
from steepest.schedules.schedule import Schedule
from steepest.tasks import manual
from steepest.tasks.adversarial import LOSSES, Match, generator_loss
from steepest.tasks.averaging import Average
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.gallery import Gallery
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape
from steepest.tasks.values import at_least_float, require

MEANS = ("d_loss", "g_loss", "d_real", "d_fake", "d_accuracy", "gradient_square")


class GAN(QuickHooks, pl.LightningModule):
    """Trains a generator against a discriminator; the headline is the Frechet distance of its images to real ones.

    Goodfellow et al. 2014, arXiv:1406.2661, with the R1 penalty of Mescheder et al. 2018, arXiv:1801.04406. A step:

        r times   x from the batch, z ~ N(0, I):   discriminator down on L_D(x, G(z)) + gamma / 2 E |grad D(x)|^2
        once      as many z ~ N(0, I):             generator down on L_G(G(z))

    where E |grad D(x)|^2 (R1) comes once in `r1_interval` steps of the discriminator, as many times as large (Karras et
    al. 2020, arXiv:1912.04958, appendix B). All r steps of the discriminator see the images of the one batch, each
    against images of its own. Both optimizers are made alike, but for `discriminator_lr_multiple` (Heusel et al. 2017,
    arXiv:1706.08500); both follow the schedule.

    Evaluated is the exponential average of the generator (`Average`), for every optimizer. Of one that has other
    weights to evaluate (schedule-free) it averages those that are trained; with ema_decay = 0 the generator itself is
    evaluated, with the optimizer's own average. What is measured, and in which net: `gallery.Gallery`.

    Images are mapped to [-1, 1] for both networks, whatever mean and standard deviation the data set subtracts and
    divides by. `opt_step` counts steps of the generator, `examples` the images of their batches, `grad_evals` the
    gradients of both networks.

    Args:
        model: has `generator`, from [B, latent_dim] to images [B, C, H, W] in [-1, 1], `discriminator`, from these to
            logits [B], and `latent_dim`.
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: images.
        clip: arguments of `clip_gradients`; the gradient of each network by itself.
        loss: nonsaturating or hinge.
        r1_gamma: gamma; 0: no penalty.
        r1_interval: steps of the discriminator between two penalties.
        discriminator_steps: r.
        discriminator_lr_multiple: its learning rate over the optimizer's.
        ema_decay: of the average, once it has warmed up; in [0, 1).
        num_samples: images that are generated to measure a split; null: as many as it has, at least 2,000 and at most
            10,000.
        cache_dir: where feature nets are kept.

    Raises:
        ConfigError: a value out of its range, data that are no images, or that are cropped.
    """

    headline = ("val/frechet_distance", "min")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {
        "model": ("generator", "discriminator", "latent_dim"),
        "dataset": ("input_shape", "num_classes"),
    }
    one_device = True
    gain: Tensor
    bias: Tensor

    def __init__(
        self,
        model: Any,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        clip: dict[str, Any],
        cache_dir: str,
        loss: str = "nonsaturating",
        r1_gamma: float = 0.1,
        r1_interval: int = 16,
        discriminator_steps: int = 1,
        discriminator_lr_multiple: float = 1.0,
        ema_decay: float = 0.999,
        num_samples: int | None = None,
    ) -> None:
        super().__init__()
        require(loss in LOSSES, "loss", loss, " and ".join(LOSSES))
        require(0 <= r1_gamma < math.inf, "r1_gamma", r1_gamma, "numbers from 0")
        require(r1_interval >= 1, "r1_interval", r1_interval, "whole numbers from 1")
        require(discriminator_steps >= 1, "discriminator_steps", discriminator_steps, "whole numbers from 1")
        multiple = discriminator_lr_multiple
        require(0 < multiple < math.inf, "discriminator_lr_multiple", multiple, "numbers above 0")
        require(0 <= ema_decay < 1, "ema_decay", ema_decay, "numbers from 0 to below 1")
        require(num_samples is None or num_samples >= 2, "num_samples", num_samples, "null and whole numbers from 2")
        require_images(data)
        self.model = model
        self.optimizer, self.schedule = optimizer, schedule
        self.total_steps, self.plan, self.clip = total_steps, plan, clip
        self.adversarial, self.r1_gamma, self.r1_interval = loss, r1_gamma, r1_interval
        self.discriminator_steps, self.discriminator_lr_multiple = discriminator_steps, multiple
        self.automatic_optimization = False
        self.average = Average(model.generator, ema_decay)
        self.gallery = Gallery(data, model.latent_dim, num_samples, cache_dir)
        std, mean = 1 / (255 * data.plain.scale), -data.plain.shift / (255 * data.plain.scale)
        self.register_buffer("gain", 2 * std, persistent=False)
        self.register_buffer("bias", 2 * mean - 1, persistent=False)
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: Any = None
        self.train_loss = RunningMean()
        self.train_means = {name: RunningMean() for name in MEANS}
        self.held_out = RunningMean()

    def rehearse(self, batch: tuple[Tensor, ...]) -> None:
        """Send the shapes of a batch through both networks.

        Raises:
            WrongOutputs: the images or the logits have another shape than is needed.
        """
        images = batch[0]
        latents = torch.empty(len(images), self.model.latent_dim, device=images.device)
        made = outputs(self.model.generator, latents)
        require_shape(made, images.shape, "images as those of the data set")
        require_shape(outputs(self.model.discriminator, made), images.shape[:1], "a logit for each image")

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Steps of the discriminator, and one of the generator."""
        real = self.rescaled(batch[0])
        generator, discriminator = self.optimizers()  # type: ignore[attr-defined]
        for turn in range(self.discriminator_steps):
            d_loss = self.discriminator_step(discriminator, real, turn)
        g_loss = self.generator_step(generator, real)
        self.train_loss.add(d_loss + g_loss)
        self.counters.opt_step += 1
        self.counters.examples += self.plan.size
        self.average.update(self.model.generator, self.counters.opt_step)

    def discriminator_step(self, optimizer: Any, real: Tensor, turn: int) -> Tensor:
        """One step of the discriminator on images [B, C, H, W]; returns its mean loss."""
        done = self.counters.opt_step * self.discriminator_steps + turn
        penalty = self.r1_gamma / 2 * self.r1_interval if done % self.r1_interval == 0 else 0.0
        parts = real.tensor_split(self.plan.accumulate)
        matches = []
        for x, z in zip(parts, self.latents(real), strict=True):
            with torch.no_grad():
                fake = self.model.generator(z)
            share = len(x) * len(parts) / len(real)  # micro-batches may differ by one in size
            matches.append(Match(self.model.discriminator, x, fake, self.adversarial, penalty, share))
        loss = manual.step(self, optimizer, matches, self.model.discriminator.parameters())
        optimizer.zero_grad()
        self.note(loss, matches)
        return loss

    def note(self, loss: Tensor, matches: list[Match]) -> None:
        """Count in what a step of the discriminator has shown."""
        real, fake = (torch.cat(logits) for logits in zip(*(match.logits for match in matches), strict=True))
        right = torch.cat([real > 0, fake < 0]).float().mean()
        found = {"d_loss": loss, "d_real": real.mean(), "d_fake": fake.mean(), "d_accuracy": right}
        for name, value in found.items():
            self.train_means[name].add(value)
        for match in matches:
            if match.square is not None:
                self.train_means["gradient_square"].add(match.square)

    def generator_step(self, optimizer: Any, real: Tensor) -> Tensor:
        """One step of the generator, with as many images as are given; returns its mean loss."""
        parts = self.latents(real)
        losses = [partial(self.generator_loss, z, len(z) * len(parts) / len(real)) for z in parts]
        loss = manual.step(self, optimizer, losses, self.model.generator.parameters())
        optimizer.zero_grad()
        self.train_means["g_loss"].add(loss)
        return loss

    def generator_loss(self, latents: Tensor, share: float) -> Tensor:
        """The loss of a micro-batch, with its graph."""
        logits = self.model.discriminator(self.model.generator(latents))
        return generator_loss(self.adversarial, at_least_float(logits)) * share

    def latents(self, images: Tensor) -> tuple[Tensor, ...]:
        """Random vectors for as many images, in micro-batches [B, latent_dim]."""
        z = torch.randn(len(images), self.model.latent_dim, dtype=images.dtype, device=images.device)
        return z.tensor_split(self.plan.accumulate)

    def rescaled(self, images: Tensor) -> Tensor:
        """The data set's images, in [-1, 1]: 2 (x std + mean) - 1."""
        return images * self.gain + self.bias

    @property
    def evaluated(self) -> nn.Module:
        """The generator that stands for the result."""
        return self.average if self.average.decay else self.model.generator

    def validation_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """Adds the discriminator's logits of images that it was not trained on to their mean."""
        if len(batch[0]):
            self.held_out.add(at_least_float(self.model.discriminator(self.rescaled(batch[0]))).mean())

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> None:
        """The same for the test split."""
        self.validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Publishes the measures against the validation split, and keeps a picture of this moment."""
        self.publish("val")
        self.gallery.keep(self.evaluated, self.device)

    def on_test_epoch_end(self) -> None:
        """Publishes the measures against the test split."""
        self.publish("test")

    def publish(self, split: str) -> None:
        """Logs `<split>/frechet_distance` and the other measures; loggers get them from the recorder."""
        found = {**self.gallery.measures(self.evaluated, split, self.device), "d_real": self.held_out.take()}
        for name, value in found.items():
            self.log(f"{split}/{name}", torch.tensor(value, dtype=torch.float64), logger=False, batch_size=1)

    def pictures(self) -> dict[str, Any]:
        """Generated images beside real ones, how they came about, and what the distances were measured with."""
        return self.gallery.pictures(self.evaluated, self.device)

    def predict_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> dict[str, Tensor]:
        """For each real image [B]: its class, and the discriminator's logit."""
        images, target = batch
        return {"target": target, "logit": self.model.discriminator(self.rescaled(images)).float()}

    def configure_optimizers(self) -> list[Optimizer]:
        """One of the generator, one of the discriminator; the schedule is a function of the step (see `manual`)."""
        made = [self.optimizer(self.model.generator), self.optimizer(self.model.discriminator)]
        for group in made[1].param_groups:
            group["lr"] *= self.discriminator_lr_multiple
        return made

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what was spent, and the pictures of moments before."""
        checkpoint["counters"] = self.counters.state_dict()
        checkpoint["moments"] = self.gallery.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on from there."""
        self.counters.load_state_dict(checkpoint["counters"])
        self.gallery.load_state_dict(checkpoint["moments"])


def require_images(data: Any) -> None:
    """Raise ConfigError for data that a generator should not imitate."""
    if not isinstance(data, ImageData):
        raise ConfigError(f"dataset={data.name} has no images for task=gan; allowed is a data set of images.")
    if min(data.num_val, data.num_test) < 2:
        raise ConfigError(
            f"dataset={data.name} has {data.num_val} validation and {data.num_test} test images, which task=gan cannot "
            "measure distances to; allowed are 2 or more of each."
        )
    if padding := data.augmented.crop_padding:
        raise ConfigError(
            f"dataset.crop_padding={padding} gives images black borders, which task=gan would learn; allowed is 0."
        )
