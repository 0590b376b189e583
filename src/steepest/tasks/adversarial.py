"""The losses of generator and discriminator, and the gradient penalty of the latter."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steepest.tasks.values import at_least_float

LOSSES = ("nonsaturating", "hinge")


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """What the discriminator minimises; D are its logits, x real and G(z) generated images.

        nonsaturating   mean softplus(-D(x)) + mean softplus(D(G(z)))     Goodfellow et al. 2014, arXiv:1406.2661, eq. 1
        hinge           mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))  Lim and Ye 2017, arXiv:1705.02894

    Args:
        kind: one of `LOSSES`.
        real: logits [B].
        fake: logits [B].
    """
    if kind == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(kind: str, fake: Tensor) -> Tensor:
    """What the generator minimises, given the logits [B] of its images.

    nonsaturating   mean softplus(-D(G(z)))     that is, it maximises log D; Goodfellow et al. 2014, section 3
    hinge           - mean D(G(z))
    """
    return -fake.mean() if kind == "hinge" else F.softplus(-fake).mean()


@dataclass
class Match:
    """The discriminator's loss of a micro-batch, as a function of its parameters, and what was seen on the way.

    Args:
        discriminator: images [B, ...] to logits [B].
        real: images [B, ...].
        fake: generated images [B, ...], without graph.
        kind: one of `LOSSES`.
        penalty: weight of the `gradient_square`; 0: it is not taken.
        share: factor on all of it.
    """

    discriminator: nn.Module
    real: Tensor
    fake: Tensor
    kind: str
    penalty: float
    share: float
    logits: tuple[Tensor, Tensor] = field(init=False)
    """Of real and generated images, [B] each, without graph."""
    square: Tensor | None = None

    def __call__(self) -> Tensor:
        """A scalar with its graph."""
        real, fake = at_least_float(self.discriminator(self.real)), at_least_float(self.discriminator(self.fake))
        self.logits = real.detach(), fake.detach()
        loss = discriminator_loss(self.kind, real, fake)
        if self.penalty:
            square = gradient_square(self.discriminator, self.real)
            self.square = square.detach()
            loss = loss + self.penalty * square
        return loss * self.share


def gradient_square(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Mean |grad D(x)|^2 over real images, the expectation in R1. Mescheder et al. 2018, arXiv:1801.04406, equation 9.

    The discriminator is in evaluation for this pass: the power iteration of spectral norm stands still, batch norm has
    its running statistics, so that the gradient is that of each image by itself, and K-FAC does not take it for a
    gradient of the loss.

    Args:
        discriminator: images [B, ...] to logits [B].
        images: leaf or not; no gradient goes to them.

    Returns:
        A scalar with its graph.
    """
    images = images.detach().requires_grad_()
    trains = discriminator.training
    discriminator.eval()
    logits = discriminator(images)
    discriminator.train(trains)
    [gradient] = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return at_least_float(gradient).square().flatten(1).sum(1).mean()
