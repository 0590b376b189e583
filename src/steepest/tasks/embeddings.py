"""What tasks on embedding tables share: the error on rare rows apart, and what cannot be done with sparse gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import MeanMetric, SumMetric

from steepest.errors import ConfigError


class ByRarity(nn.Module):
    """Means of an error over the examples with a rare row, and over the others.

    An example is rare if one of its rows occurs at most `rare` times in the training part. A mean over all examples is
    one over the rows that occur often; what a model makes of the long tail does not show there.

    Args:
        row_counts: how often each row of each field occurs in the training part, int64 [rows] a field.
        rare: the most occurrences.
    """

    counts: Tensor
    offsets: Tensor

    def __init__(self, row_counts: Sequence[Tensor], rare: int) -> None:
        super().__init__()
        if isinstance(rare, bool) or rare < 0:
            raise ConfigError(f"task.rare={rare} is not possible; allowed are whole numbers from 0.")
        self.rare = rare
        sizes = torch.tensor([len(counts) for counts in row_counts])
        self.register_buffer("counts", torch.cat(list(row_counts)), persistent=False)
        self.register_buffer("offsets", sizes.cumsum(0) - sizes, persistent=False)
        self.means: Any = nn.ModuleDict({name: MeanMetric() for name in ("rare", "frequent")})
        self.numbers: Any = nn.ModuleDict({name: SumMetric() for name in ("rare", "frequent")})

    def is_rare(self, rows: Tensor) -> Tensor:
        """Of the rows of examples, int64 [B, fields], which examples are rare, bool [B]."""
        return (self.counts[rows + self.offsets] <= self.rare).any(1)

    def update(self, rows: Tensor, errors: Tensor) -> None:
        """Add a batch: rows int64 [B, fields], errors [B]."""
        rare = self.is_rare(rows)
        for name, chosen in (("rare", rare), ("frequent", ~rare)):
            count = chosen.sum()
            self.means[name].update((errors * chosen).sum() / count.clamp(min=1), weight=count)
            self.numbers[name].update(count)

    def take(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The mean error and the number of examples of `rare` and `frequent`, where there are some; and start anew."""
        found = {}
        for name, mean in self.means.items():
            if (number := self.numbers[name].compute()) > 0:
                found[name] = (mean.compute(), number)
        for metric in (*self.means.values(), *self.numbers.values()):
            metric.reset()
        return found


def require_clippable(model: nn.Module, clip: Mapping[str, Any]) -> None:
    """Raise ConfigError for a bound on single entries of sparse gradients, which torch cannot apply."""
    by_value = clip["gradient_clip_algorithm"] == "value" and clip["gradient_clip_val"] is not None
    if by_value and any(getattr(layer, "sparse", False) for layer in model.modules()):
        raise ConfigError(
            f"clip.value={clip['gradient_clip_val']:g} is not possible with sparse gradients; allowed are clip.norm, "
            "and model.sparse=false."
        )
