"""The loader of tasks that make their own data: turns to take, each without content."""

from collections.abc import Iterator

import torch
from torch import Tensor


class Turns:
    """Yields `(empty tensor [1, 0],)` again and again; goes on from a saved position as `Loader` does.

    Args:
        count: turns in an epoch.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._next = 0
        self._resumes = False

    def __len__(self) -> int:
        """Turns in an epoch."""
        return self.count

    def __iter__(self) -> Iterator[tuple[Tensor]]:
        if not self._resumes:
            self._next = 0
        self._resumes = False
        while self._next < self.count:
            self._next += 1
            if last := self._next == self.count:
                self._next = 0  # before the yield: who counts turns does not come back after the last one
            yield (torch.empty(1, 0),)
            if last:
                return

    def state_dict(self) -> dict[str, int]:
        """The position after the last turn taken; after an epoch's last one, the start of the next epoch."""
        return {"next": self._next}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration begins at this position."""
        self._next, self._resumes = state["next"], True
