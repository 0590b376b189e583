"""What one optimizer step, of one optimizer or of several, does to the parameters."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from steepest.tasks.values import at_least_float


@dataclass
class Kept:
    """A parameter as it was before the step."""

    before: Tensor
    """Its values, or those of `rows` alone."""
    rows: Tensor | None
    """The rows that the step can move, of a parameter whose optimizer leaves all others as they are; None: all."""
    gradient: Tensor | None
    """Its gradient before clipping, if that was to be kept; a sparse one is coalesced."""
    turn: int
    """Which of the step's optimizers moves it, from 0 on."""

    def update(self, parameter: Tensor) -> Tensor:
        """x_t - x_{t-1}, of the rows alone where those alone can move; in float32 or better."""
        now = parameter.detach()
        now = now if self.rows is None else now[self.rows]
        return at_least_float(now) - at_least_float(self.before)


class Moves:
    """Copies of what is about to be moved. Of several gradients that an optimizer takes in a step, the first counts.

    Args:
        gradients: whether to copy these, too.
    """

    def __init__(self, gradients: bool = False) -> None:
        self.gradients = gradients
        self.kept: dict[nn.Parameter, Kept] = {}
        self._turns = 0

    @torch.no_grad()
    def look(self, optimizer: Any) -> list[nn.Parameter]:
        """Copy the parameters that an optimizer is about to move; returns those that no optimizer showed before."""
        new = []
        whole = getattr(optimizer, "optimizer", optimizer)
        for part in getattr(whole, "parts", [whole]):
            # Rules that look at single entries act on the touched rows alone; others may move rows touched before.
            lazy = getattr(part, "reach", None) == "element"
            for p in (p for group in part.param_groups for p in group["params"]):
                if p in self.kept or not p.requires_grad:
                    continue
                new.append(p)
                g = p.grad.coalesce() if p.grad is not None and p.grad.is_sparse else p.grad
                rows = g.indices()[0] if lazy and g is not None and g.is_sparse and g.sparse_dim() == 1 else None
                before = p.detach().clone() if rows is None else p.detach()[rows]
                copied = g.clone() if self.gradients and g is not None else None
                self.kept[p] = Kept(before, rows, copied, self._turns)
        self._turns += bool(new)
        return new
