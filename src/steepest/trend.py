"""Where a noisy curve goes. Nothing here imports torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

MOST = 200
"""Points of a curve; of a longer one, medians of neighbours."""


@dataclass(frozen=True)
class Curve:
    """Finite values over optimizer steps, in order; lower is better."""

    steps: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def noise(self) -> float:
        """The standard deviation of a value around the trend; 0 for fewer than five.

        From second differences, in which a straight trend is gone and whose variance is 6 times the noise's. They are
        cut at four standard deviations, as the median absolute deviation tells them: a few jumps do not move it.
        """
        if len(self) < 5:
            return 0.0
        second = np.diff(self.values, 2)
        second = second - np.median(second)
        limit = 4 * 1.4826 * np.median(np.abs(second))
        return float((np.mean(second.clip(-limit, limit) ** 2) / 6) ** 0.5)

    @property
    def few(self) -> int:
        """How many values are taken together at either end: a tenth of them, at most five."""
        return max(1, min(5, len(self) // 10))

    @property
    def error(self) -> float:
        """The standard error of a difference of two medians of `few` values."""
        return self.noise * (2.0 * (np.pi / 2 if self.few > 2 else 1.0) / self.few) ** 0.5

    @property
    def end(self) -> float:
        """The median of the last values."""
        return float(np.median(self.values[-self.few :]))

    @cached_property
    def _best(self) -> tuple[int, float]:
        windows = np.lib.stride_tricks.sliding_window_view(self.values, self.few)
        medians = np.median(windows, axis=1)
        at = int(np.argmin(medians))
        return at + self.few - 1, float(medians[at])

    @property
    def best(self) -> float:
        """The lowest median of neighbours: not the luckiest single value."""
        return self._best[1]

    @property
    def best_step(self) -> int:
        """The step of the last one of those neighbours."""
        return int(self.steps[self._best[0]])

    def at(self, step: float) -> float:
        """The median of the `few` values up to a step; the first one's before there are any."""
        until = max(1, int(np.searchsorted(self.steps, step, side="right")))
        return float(np.median(self.values[max(0, until - self.few) : until]))

    def fifths(self) -> tuple[float, float, float]:
        """The medians of the first and of the last fifth, and the standard error of their difference."""
        k = max(1, len(self) // 5)
        error = self.noise * (2.0 * (np.pi / 2 if k > 2 else 1.0) / k) ** 0.5
        return float(np.median(self.values[:k])), float(np.median(self.values[-k:])), error

    def late_gain(self, certain: bool = True) -> float:
        """What a quarter of the run more would bring it down at the pace of its last half, of six values at least.

        The pace is the Theil-Sen slope, the median of the slopes of all pairs. If `certain`, it is 0 unless the 95 %
        interval of that slope is below 0.
        """
        late = self.steps >= (self.steps[-1] + self.steps[0]) / 2
        late[-6:] = True
        return self._gain(late, certain)

    def middle_gain(self) -> float:
        """What it went down in a quarter of the run at the pace of its middle half; 0 unless it certainly did."""
        share = (self.steps - self.steps[0]) / max(self.steps[-1] - self.steps[0], 1.0)
        return self._gain((share >= 1 / 4) & (share <= 3 / 4), certain=True)

    def _gain(self, part: np.ndarray, certain: bool) -> float:
        """What a quarter of the run brings it down at the pace of a part of its values."""
        from scipy.stats import theilslopes

        length = float(self.steps[-1] - self.steps[0])
        if part.sum() < 2 or not length:
            return 0.0
        slope, _, _, high = theilslopes(self.values[part], self.steps[part], 0.95)
        return float(-slope * length / 4) if high < 0 or not certain else 0.0


def curve(rows: Sequence[Mapping[str, Any]], key: str, sign: float = 1.0) -> Curve:
    """The curve of a metric, without what is missing, null or not finite.

    Args:
        rows: of metrics.jsonl.
        key: the metric.
        sign: -1 for a metric of which more is better.
    """
    found = [(row["opt_step"], sign * row[key]) for row in rows if row.get(key) is not None]
    pairs = np.array(sorted(found), dtype=float).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if len(pairs) > MOST:
        pairs = np.array([np.median(block, axis=0) for block in np.array_split(pairs, MOST)])
    return Curve(pairs[:, 0], pairs[:, 1])


def in_training(rows: Sequence[Mapping[str, Any]], headline: str) -> str | None:
    """The metric of training that is the headline's of validation: for val/return, train/return or train/..._return."""
    name = headline.partition("/")[2]
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("train/"))
    fitting = [key for key in keys if key == f"train/{name}" or key.endswith(f"_{name}")]
    return min(fitting, key=len, default=None)
