"""The base of every optimizer: it owns all but the formula."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer

from steepest.errors import ConfigError, shown

Hyperparameters = dict[str, Any]
State = dict[str, Any]

WEIGHT_DECAYS = ("l2", "times_lr", "decoupled")
SCALED = (torch.float16, torch.bfloat16)  # too coarse for running averages: 1 - beta2 = 0.001 is lost in bfloat16


class Shared(TypedDict, total=False):
    """The hyperparameters that every rule has, beside its own."""

    weight_decay: float
    weight_decay_form: str
    maximize: bool


class Rule(Optimizer):
    """An update rule, written on one parameter tensor; everything around it is here.

    A subclass has a constructor with its hyperparameters, `init` and `update`. The base owns parameter groups, lazy
    state, the closure, `maximize`, weight decay, low-precision parameters, sparse gradients and checkpoints. It is a
    plain `torch.optim.Optimizer`: it works in a bare loop, in Lightning, and with any `LRScheduler`.

    `weight_decay_form` says what the hyperparameter `weight_decay` (w) does before the rule sees the gradient g:

        l2          g <- g + w x          the L2 penalty w/2 |x|^2
        times_lr    x <- x - lr w x       torch's AdamW; Loshchilov and Hutter 2019, arXiv:1711.05101
        decoupled   x <- x - w x          whatever the learning rate

    Parameters in bfloat16 or float16 keep a float32 state, and the rule computes in float32.
    A sparse gradient (`nn.Embedding(sparse=True)`) updates the touched rows alone, weight decay and state included;
    only element-wise rules may see one.
    """

    twin: ClassVar[str | None] = None
    """The independent implementation that tests hold the rule against, step for step, such as `torch.optim.SGD`."""
    twin_options: ClassVar[dict[str, Any]] = {}
    """Constructor arguments that make the twin this rule."""
    elementwise: ClassVar[bool] = True
    """Whether every entry is updated from its own gradient and state alone."""

    def __init__(
        self,
        params: Iterable[Any],
        defaults: Hyperparameters,
        weight_decay: float = 0.0,
        weight_decay_form: str = "l2",
        maximize: bool = False,
    ) -> None:
        shared = {"weight_decay": weight_decay, "weight_decay_form": weight_decay_form, "maximize": maximize}
        if weight_decay_form not in WEIGHT_DECAYS:
            raise ConfigError(
                f"optimizer.weight_decay_form={shown(weight_decay_form)} is unknown; "
                f"allowed are {', '.join(WEIGHT_DECAYS)}."
            )
        at_least(0.0, lr=defaults["lr"], weight_decay=weight_decay)
        super().__init__(params, {**defaults, **shared})

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """Fill the state of a parameter before its first update; `p` has the parameter's shape and device."""

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """Move `p` in place, given its gradient, its state (`state["step"]` counts from 1) and its group's values."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss, if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for h in self.param_groups:
            for p in h["params"]:
                if p.grad is not None:
                    self._step_one(p, p.grad, self.state[p], h)
        return loss

    def _step_one(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        x = p.float() if p.dtype in SCALED else p
        if not state:
            state["step"] = 0
            self.init(x, state, h)
        state["step"] += 1
        if g.is_sparse:
            self._update_rows(x, g, state, h)
        else:
            self._decay_and_update(x, g.to(x.dtype), state, h)
        if x.dtype != p.dtype:
            p.copy_(x)

    def _decay_and_update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        if h["maximize"]:
            g = -g
        if w := h["weight_decay"]:
            match h["weight_decay_form"]:
                case "l2":
                    g = g.add(p, alpha=w)
                case "times_lr":
                    p.mul_(1 - h["lr"] * w)
                case "decoupled":
                    p.mul_(1 - w)
        self.update(p, g, state, h)

    def _update_rows(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """The same update on the rows that the gradient touches; their state alone moves."""
        if not self.elementwise:
            raise RuntimeError(f"{type(self).__name__} looks beyond single entries and cannot take a sparse gradient.")
        g = g.coalesce()
        rows = g.indices()[0]
        kept = {key: s for key, s in state.items() if isinstance(s, Tensor)}
        p_rows, state_rows = p[rows], {**state, **{key: s[rows] for key, s in kept.items()}}
        self._decay_and_update(p_rows, g.values().to(p.dtype), state_rows, h)
        p[rows] = p_rows
        for key, s in kept.items():
            s[rows] = state_rows[key]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.load_state_dict`, but each state tensor keeps its own dtype.

        torch casts state to the parameter's dtype, which would round the float32 state of bfloat16 parameters.
        """
        super().load_state_dict(state_dict)
        saved_ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(saved_ids, params, strict=True):
            for key, value in state_dict["state"].get(i, {}).items():
                if isinstance(value, Tensor):
                    self.state[p][key] = value.to(p.device, copy=True)


def at_least(bound: float, **values: float) -> None:
    """Raise ConfigError for the first value below `bound`, infinite or not a number."""
    for key, value in values.items():
        if not bound <= value < math.inf:
            raise ConfigError(f"optimizer.{key}={value} is not possible; allowed is a number of {bound:g} or more.")


def fractions(**values: float | Sequence[float]) -> None:
    """Raise ConfigError for the first value, or list with a value, outside [0, 1)."""
    for key, value in values.items():
        entries = value if isinstance(value, Sequence) else [value]
        if not all(0.0 <= entry < 1.0 for entry in entries):
            allowed = "are numbers" if isinstance(value, Sequence) else "is a number"
            raise ConfigError(f"optimizer.{key}={shown(value)} is not possible; allowed {allowed} from 0 to below 1.")
