"""Several optimizers as one."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from steepest.optimizers.rule import keep_dtypes, own_state


class Composite(Optimizer):
    """Several optimizers, each with parameters of its own, as one: one `param_groups`, one `state_dict`.

    Lightning's automatic optimization takes one optimizer, and so do schedulers and checkpoints. Groups and states are
    those of the parts, in their order, not copies of them.

    Args:
        parts: optimizers whose parameters are disjoint. Those that evaluate the loss themselves (L-BFGS) cannot be one
            of several.
    """

    def __init__(self, parts: Sequence[Optimizer]) -> None:
        super().__init__([{**group} for part in parts for group in part.param_groups], {})
        self.parts = list(parts)
        self._share(chain.from_iterable(part.param_groups for part in self.parts), defaultdict(dict))

    def __getstate__(self) -> dict[str, Any]:
        """For copies, with their parts."""
        return own_state(self)

    @property
    def evaluates_elsewhere(self) -> bool:
        """Whether the weights to evaluate differ from those that are trained, for one of the parts."""
        return any(map(evaluates_elsewhere, self.parts))

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A step of each part, in their order; returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def eval(self) -> None:
        """Put the weights to evaluate in place, where a part has such."""
        for part in filter(evaluates_elsewhere, self.parts):
            part.eval()  # type: ignore[attr-defined]

    def train(self) -> None:
        """Put the weights that are trained back."""
        for part in filter(evaluates_elsewhere, self.parts):
            part.train()  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """As `torch.optim.Optimizer.zero_grad`; K-FAC also forgets what it has seen."""
        for part in self.parts:
            part.zero_grad(set_to_none)

    def close(self) -> None:
        """Let go of a module that a part looks into (K-FAC)."""
        for part in self.parts:
            getattr(part, "close", lambda: None)()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Only while it is made: nothing says which part a later group would belong to."""
        if hasattr(self, "parts"):
            raise RuntimeError(
                "Composite cannot take another group of parameters; give it to a part that is made anew."
            )
        super().add_param_group(param_group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.load_state_dict`, but each state tensor keeps its own dtype."""
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)
        self._share(self.param_groups, self.state)

    def _share(self, groups: Iterable[dict[str, Any]], state: defaultdict[Tensor, Any]) -> None:
        """Let the parts hold these groups and this state, and this optimizer the same objects."""
        groups = list(groups)
        self.param_groups, self.state = groups, state
        place = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups, part.state = groups[place : place + count], state
            place += count


def evaluates_elsewhere(optimizer: Optimizer) -> bool:
    """Whether the weights to evaluate differ from those that it trains: ours say so, others have `eval`."""
    return getattr(optimizer, "evaluates_elsewhere", callable(getattr(optimizer, "eval", None)))
