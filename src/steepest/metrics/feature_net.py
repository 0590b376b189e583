"""The net in whose features generated images are compared with real ones: a classifier that we train ourselves."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steepest.datasets.cache import DecodedCache
from steepest.datasets.order import epoch_order, even_batches
from steepest.models.adversaries import halvings
from steepest.models.initialise import he_normal_

NUM_FEATURES = 64
RECIPE = 1  # raise when anything below changes the net
BATCH_SIZE, LR = 128, 3e-3
IMAGES = {False: 40_000, True: 150_000}
"""Training images that go through the net, repeated ones counted, at least one epoch: of sides below 16 px, others."""


class FeatureNet(nn.Module):
    """cnn64: 3x3 convolutions with batch norm, ReLU and 2x2 max pools, then 64 features with ReLU and a linear head.

    Channels are 16, doubled with each pool; there are as many pools as the image is halved in the GAN models: two for
    8 px, three for 28 and 32 px.

    Args:
        input_shape: (C, H, W) of one image.
        num_classes: number of logits.
    """

    name = f"cnn{NUM_FEATURES}"

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        channels, height, long = input_shape
        layers: list[nn.Module] = []
        for level in range(len(halvings(min(height, long))) - 1):
            width = 16 * 2**level
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            layers.append(nn.MaxPool2d(2))
            channels, height, long = width, height // 2, long // 2
        layers += [nn.Flatten(), nn.Linear(channels * height * long, NUM_FEATURES), nn.ReLU()]
        self.body, self.head = nn.Sequential(*layers), nn.Linear(NUM_FEATURES, num_classes)
        he_normal_(self)
        nn.init.kaiming_normal_(layers[-2].weight)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Features [B, 64] and logits [B, num_classes] of images, uint8 [B, C, H, W]."""
        features = self.body(pixels.float() / 127.5 - 1)
        return features, self.head(features)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the weights."""
        digest = hashlib.sha256()
        for value in self.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
        return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Seen:
    """What the net says of a set of images."""

    features: Tensor
    """[n, 64]"""
    logits: Tensor
    """[n, classes]"""

    @cached_property
    def classes(self) -> Tensor:
        """The most probable class of each image, int64 [n]."""
        return self.logits.argmax(-1)


@torch.no_grad()
def look(net: FeatureNet, batches: Iterator[Tensor], device: torch.device) -> Seen:
    """Let the net see batches of images, uint8 [B, C, H, W], in float32 on the device."""
    net = net.to(device).eval()
    with torch.autocast(device.type, enabled=False):
        features, logits = zip(*(net(pixels.to(device)) for pixels in batches), strict=True)
    return Seen(torch.cat(features), torch.cat(logits))


def feature_net(data: Any, cache_dir: str | Path) -> tuple[FeatureNet, float]:
    """The net of a data set of images, and its accuracy on the validation split.

    It is trained once, on the CPU in one thread, from a seed of its own, and kept in the cache: all runs on these
    training images share it, and a machine of the same kind makes the same.

    Args:
        data: an `ImageData`.
        cache_dir: where nets are kept.
    """
    images, labels = next(iter(pixels(data, "train", 2048)))
    content = hashlib.sha256(images.cpu().numpy().tobytes() + labels.cpu().numpy().tobytes()).hexdigest()
    options = [RECIPE, torch.__version__, data.name, data.num_train, data.num_classes, list(data.input_shape), content]
    cache = DecodedCache(Path(cache_dir), f"{data.name}-{FeatureNet.name}", (), options)
    with torch.random.fork_rng([]), torch.inference_mode(False), torch.enable_grad(), one_thread():
        torch.manual_seed(0)
        net = FeatureNet(data.input_shape, data.num_classes).float()
        found = cache.load()
        if found is None:
            print(f"The feature net {net.name} is trained on {data.name}, once for all runs.", flush=True)
            train(net, data)
            accuracy = accuracy_on(net, data, "val")
            cache.save({"net": net.state_dict(), "accuracy": accuracy})
        else:
            net.load_state_dict(found["net"])
            accuracy = found["accuracy"]
    return net.requires_grad_(False).eval(), accuracy


def train(net: FeatureNet, data: Any) -> None:
    """Adam (0.9, 0.999), learning rate linearly down to 0, no augmentation."""
    loader = data._loader("train", None, batch_size=min(BATCH_SIZE, data.num_train), seed=0)
    epochs = max(1, round(IMAGES[data.input_shape[1] >= 16] / data.num_train))
    optimizer = torch.optim.Adam(net.parameters(), LR)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, epochs * len(loader))
    with torch.autocast("cpu", enabled=False):
        for _ in range(epochs):
            for images, labels in loader:
                optimizer.zero_grad()
                F.cross_entropy(net(images.cpu())[1], labels.cpu()).backward()
                optimizer.step()
                schedule.step()


def accuracy_on(net: FeatureNet, data: Any, part: str) -> float:
    """Share of the images of a part whose class the net finds."""
    labels = torch.cat([labels.cpu() for _, labels in pixels(data, part)])
    seen = look(net, (images for images, _ in pixels(data, part)), torch.device("cpu"))
    return (seen.classes == labels).double().mean().item()


def pixels(data: Any, part: str, count: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of a part as it is: uint8 [B, C, H, W] and labels [B].

    Args:
        data: an `ImageData` that is set up.
        part: train, val or test.
        count: so many images at most, drawn at random, the same ones every time; None: all.
    """
    examples = data._parts[part]
    order = epoch_order(0, 0, len(examples))[:count].sort().values
    return examples.batches(order, even_batches(len(order), -(-len(order) // data.eval_batch_size), 0, 1))


@contextmanager
def one_thread() -> Iterator[None]:
    """The number of threads decides the last bits of a result."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
