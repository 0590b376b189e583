"""Images of a generator: how they compare with real ones, and how they look."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor, nn

from steepest.metrics.feature_net import FeatureNet, Seen, feature_net, look, pixels
from steepest.metrics.generated import comparison, frechet_distance

SIDE = 8  # images in a row and in a column of a picture
MOMENTS = 64
SAMPLES = (2_000, 10_000)


class Gallery:
    """Measures a generator against a split of the data, and keeps what it makes of 64 fixed latent vectors.

    The measures are those of `metrics.generated.comparison`, in the features of a net that we trained (`FeatureNet`),
    and

        frechet_floor       the distance of as many training images (at most all): what a perfect generator has
        feature_accuracy    share of the validation split whose class the net finds

    Images are rounded to 256 levels before the net sees them. The latent vectors are a function of the seed of the run
    alone, and no random number of the training is used.

    Args:
        data: an `ImageData` that is set up.
        latent_dim: size of a latent vector.
        num_samples: images that are generated for a split; None: as many as it has, within 2,000 and 10,000.
        cache_dir: where feature nets are kept.
    """

    def __init__(self, data: Any, latent_dim: int, num_samples: int | None, cache_dir: str) -> None:
        self.data, self.latent_dim, self.num_samples, self.cache_dir = data, latent_dim, num_samples, cache_dir
        self.seed = torch.initial_seed()
        self.moments: list[Tensor] = []
        """Images of the fixed latent vectors, uint8 [64, C, H, W], at moments of the training."""
        self._offered, self._every = 0, 1
        self._net: tuple[FeatureNet, float] | None = None
        self._real: dict[str, Seen] = {}
        self._floor: dict[str, float] = {}

    def measures(self, generator: nn.Module, split: str, device: torch.device) -> dict[str, float]:
        """All measures against a split, val or test; infinite where the generator's images are not finite."""
        if self._net is None:
            self._net = feature_net(self.data, self.cache_dir)
        net, accuracy = self._net
        if split not in self._real:
            self._real[split] = look(net, (images for images, _ in pixels(self.data, split)), device)
        real = self._real[split]
        count = self.num_samples or min(max(len(real.features), SAMPLES[0]), SAMPLES[1])
        if split not in self._floor:
            training = look(net, (images for images, _ in pixels(self.data, "train", count)), device)
            self._floor[split] = frechet_distance(training.features, real.features)
        known = {"frechet_floor": self._floor[split], "feature_accuracy": accuracy}
        try:
            fake = look(net, self.made(generator, count, 1, device), device)
        except NotFiniteError:
            return {"frechet_distance": math.inf, **known}
        return {**comparison(real, fake), **known}

    @torch.no_grad()
    def made(self, generator: nn.Module, count: int, stream: int, device: torch.device) -> Iterator[Tensor]:
        """Batches of generated images, uint8 [B, C, H, W], of the first `count` latent vectors of a random stream.

        Raises:
            NotFiniteError: a pixel is no finite number.
        """
        random = torch.Generator().manual_seed(self.seed + stream)
        latents = torch.randn(count, self.latent_dim, generator=random)
        dtype = next(tensor.dtype for tensor in chain(generator.parameters(), generator.buffers()))
        for z in latents.split(self.data.eval_batch_size):
            with torch.autocast(device.type, enabled=False), evaluating(generator):
                images = generator(z.to(device, dtype)).float()
            if not images.isfinite().all():
                raise NotFiniteError
            yield ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)

    def keep(self, generator: nn.Module, device: torch.device) -> None:
        """Keep the images of this moment; of very many moments every second, fourth, ... one."""
        if self._offered % self._every == 0:
            try:
                self.moments.append(self.grid(generator, device))
            except NotFiniteError:
                return
        self._offered += 1
        if len(self.moments) > MOMENTS:
            self.moments, self._every = self.moments[::2], 2 * self._every

    def grid(self, generator: nn.Module, device: torch.device) -> Tensor:
        """The images of the fixed latent vectors, uint8 [64, C, H, W]."""
        return torch.cat([images.cpu() for images in self.made(generator, SIDE**2, 0, device)])

    def pictures(self, generator: nn.Module, device: torch.device) -> dict[str, Any]:
        """Generated images beside real ones, the kept moments as an animation, and the feature net in words."""
        from steepest.pictures import image_grid

        real = torch.cat([images.cpu() for images, _ in islice(pixels(self.data, "train", SIDE**2), SIDE**2)])
        found: dict[str, Any] = {"feature_net": self.words()}
        if len(real) == SIDE**2:
            made = self.grid(generator, device)
            rows = [images.unflatten(0, (SIDE, SIDE)) for images in (made, real)]
            gap = torch.full_like(rows[0][:, :1], 255)
            beside = torch.cat([rows[0], gap, rows[1]], 1).flatten(0, 1)
            found["samples"] = image_grid(beside, 2 * SIDE + 1, f"{self.data.name}: generated | real")
        if self.moments:
            frames = [tiled(images) for images in self.moments]
            found["training"] = [frame for frame in frames for _ in range(10)] + 40 * frames[-1:]
        return found

    def words(self) -> str:
        """What the distances were measured with."""
        net, accuracy = self._net or feature_net(self.data, self.cache_dir)
        return (
            f"frechet_distance is FD-{net.name}: in the features of {net.name}, a classifier trained on the "
            f"{self.data.num_train:,} training images of {self.data.name}, which finds the class of {accuracy:.1%} of "
            f"the validation split (weights {net.digest}). Compare it only with distances by the same weights and of "
            "as many images; frechet_floor is that of training images.\n"
        )

    def state_dict(self) -> dict[str, Any]:
        """The kept moments, for a checkpoint."""
        return {"moments": list(self.moments), "offered": self._offered, "every": self._every}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the moments of a checkpoint."""
        self.moments = list(state["moments"])
        self._offered, self._every = state["offered"], state["every"]


class NotFiniteError(Exception):
    """A generator makes images of which some pixel is no finite number."""


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Let the network be in evaluation, then as it was."""
    trains = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(trains)


def tiled(images: Tensor) -> Any:
    """A frame of 64 images, uint8 [height, width, 3], of 250 px and more."""
    from torchvision.utils import make_grid

    frame = make_grid(images, SIDE, padding=1, pad_value=255).permute(1, 2, 0)
    times = max(1, round(300 / len(frame)))
    return frame.repeat_interleave(times, 0).repeat_interleave(times, 1).contiguous().numpy()
