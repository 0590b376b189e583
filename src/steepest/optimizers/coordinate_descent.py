"""Coordinate descent."""

from collections.abc import Iterable, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from steepest.errors import ConfigError, shown
from steepest.optimizers.rule import GlobalRule, Hyperparameters, Shared, State, as_minimised, at_least, one_of

ORDERS = ("random", "cyclic", "greedy")


class CoordinateDescent(GlobalRule):
    """Block coordinate descent: a step moves some coordinates alone. Tseng 2001; Wright 2015, arXiv:1502.04759.

        x_t = x_{t-1}                              at all coordinates but those of the block B_t
        x_t = S(x_{t-1} - lr g_t, lr l1)           at those of B_t,    S(a, b) = sign(a) max(|a| - b, 0)

    S is the proximal step of l1 |x|_1, which is added to the loss: the Lasso. Coordinates are counted over all
    parameters with a gradient together; `block` is how many a step moves (an integer), or which share of them. B_t is

        cyclic     the next ones, round and round
        random     drawn anew, without repetition, from the seed and t alone (so that a resumed run draws the same)
        greedy     those with the largest |g| (Gauss-Southwell); with l1, of the smallest subgradient of the whole

    The whole gradient is given, so that a step costs as much as one of SGD; what is saved is the movement.
    Weight decay acts on the coordinates of B_t alone.
    """

    own_decay = ("times_lr", "decoupled")
    takes_shards = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        order: str = "random",
        block: float | int = 0.1,
        l1: float = 0.0,
        seed: int = 0,
        **shared: Unpack[Shared],
    ) -> None:
        one_of(ORDERS, order=order)
        at_least(0.0, l1=l1)
        if not (block >= 1 if type(block) is int else type(block) is float and 0.0 < block <= 1.0):
            raise ConfigError(
                f"optimizer.block={shown(block)} is not possible; allowed is a share above 0.0 and up to 1.0, or an "
                "integer of 1 or more."
            )
        self._blocks: dict[int, Tensor] = {}
        super().__init__(params, {"lr": lr, "order": order, "block": block, "l1": l1, "seed": seed}, **shared)

    def survey(self, seen: Sequence[tuple[Tensor, Tensor, State, Hyperparameters]]) -> None:
        """Choose B_t; order, block and seed are the first group's."""
        if not seen:
            return
        one, t = self.param_groups[0], max(state["step"] for _, _, state, _ in seen)
        sizes = [p.numel() for p, _, _, _ in seen]
        n = sum(sizes)
        size = min(n, one["block"] if isinstance(one["block"], int) else max(1, round(one["block"] * n)))
        match one["order"]:
            case "cyclic":
                block = (torch.arange(size) + (t - 1) * size) % max(n, 1)
            case "random":
                block = torch.randperm(n, generator=_generator(one["seed"], t))[:size]
            case "greedy":
                slopes = [
                    _slope(p, as_minimised(p, g, h), h["l1"]).flatten().to(seen[0][0].device) for p, g, _, h in seen
                ]
                block = torch.cat(slopes).topk(size).indices
        chosen = torch.zeros(n, dtype=torch.bool, device=block.device).index_fill_(0, block, True)
        parts = chosen.split(sizes)
        self._blocks = {
            id(state): part.view(p.shape).to(p.device) for part, (p, _, state, _) in zip(parts, seen, strict=True)
        }

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula."""
        lr, w = h["lr"], h["weight_decay"]
        decay = {"l2": 0.0, "times_lr": lr * w, "decoupled": w}[h["weight_decay_form"]]
        moved = p.mul(1 - decay).add_(g, alpha=-lr)
        if h["l1"]:
            moved = torch.nn.functional.softshrink(moved, lr * h["l1"])
        p.copy_(torch.where(self._blocks.pop(id(state)), moved, p))


def _generator(seed: int, t: int) -> torch.Generator:
    """On the CPU, so that the draw is the same on every device; torch's looks at 32 bits of its seed."""
    return torch.Generator().manual_seed((1_000_003 * seed + t) % 2**32)


def _slope(x: Tensor, g: Tensor, l1: float) -> Tensor:
    """How steep the loss and the penalty are; at 0 the penalty holds a slope of up to l1."""
    return torch.where(x == 0, (g.abs() - l1).clamp_(min=0), (g + l1 * x.sign()).abs_())
