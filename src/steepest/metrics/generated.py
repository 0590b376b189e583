"""How generated images compare with real ones, in the features of a net."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from steepest.metrics.feature_net import Seen

NEIGHBOURS = 5
FOUND = 0.1
"""A class is found if its share among the samples is at least this much of its share among the data."""
ROWS = 1024  # of a matrix of distances at once


class Given(nn.Identity):
    """Stands in for the net where features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Frechet distance between Gaussians with the mean m and covariance C of two sets of features.

        |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^1/2)

    Dowson and Landau 1982; for images Heusel et al. 2017, arXiv:1706.08500. In float64, by torchmetrics. It is too
    large for few images, by about 1/n times a number that depends on the features (Chong and Forsyth 2020,
    arXiv:1911.07023): only distances with the same numbers of images are comparable.

    Args:
        a: features [n, d], at least two.
        b: features [m, d], at least two.

    Returns:
        Infinity where a feature is not finite.
    """
    if not (a.isfinite().all() and b.isfinite().all()):
        return math.inf
    metric = FrechetInceptionDistance(Given(a.shape[1])).to(a.device)
    metric.update(a.double(), real=True)
    metric.update(b.double(), real=False)
    return metric.compute().item()


def density_and_coverage(real: Tensor, fake: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """Fidelity and diversity by balls around real images. Naeem et al. 2020, arXiv:2002.09797, equations 5 and 6.

    Each real image has a ball as large as the distance of its k-th nearest real neighbour. The density is the mean
    number of balls that a fake lies in, over k: about 1 for fakes that are distributed as the data, and unbounded. The
    coverage is the share of balls with a fake inside: about 1 - 2^-k for such fakes, as many as there are real images,
    and larger for more.

    Args:
        real: features [n, d].
        fake: features [m, d].
        k: the neighbour that a ball reaches to; n - 1 where that is less.
    """
    k = min(k, len(real) - 1)
    radii = torch.cat([block.kthvalue(k + 1).values for block in distances(real, real)])  # the nearest is itself
    inside, covered = 0, 0
    for block, radius in zip(distances(real, fake), radii.split(ROWS), strict=True):
        hits = block < radius[:, None]
        inside += int(hits.sum())
        covered += int(hits.any(1).sum())
    return inside / (k * len(fake)), covered / len(real)


def distances(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """The Euclidean distances of all pairs, [n, m], some rows at a time."""
    return (torch.cdist(rows, b, compute_mode="donot_use_mm_for_euclid_dist") for rows in a.split(ROWS))


def shares(seen: Seen) -> Tensor:
    """The share of each class among images, as the net sees them: float64 [classes]."""
    return seen.classes.bincount(minlength=seen.logits.shape[1]).double() / len(seen.classes)


def comparison(real: Seen, fake: Seen) -> dict[str, float]:
    """All measures of fakes against real images.

    Returns:
        frechet_distance: in the features; see there.
        density, coverage: in the features; see there.
        classes_found: classes whose share among the fakes is at least a tenth of that among the real images.
        class_distance: total variation between the shares of classes, in [0, 1]; 0 is the same shares.
        confidence: mean probability of a fake's most probable class.
    """
    found = {"frechet_distance": frechet_distance(real.features, fake.features)}
    found["density"], found["coverage"] = density_and_coverage(real.features, fake.features)
    ours, theirs = shares(fake), shares(real)
    found["classes_found"] = int(((ours >= FOUND * theirs) & (ours > 0)).sum())
    found["class_distance"] = (ours - theirs).abs().sum().item() / 2
    found["confidence"] = fake.logits.softmax(-1).max(-1).values.mean().item()
    return found
