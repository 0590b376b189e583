"""The base of every optimizer: it owns all but the formula."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Literal, TypedDict

import torch
from torch import Tensor
from torch.optim import Optimizer

from steepest.errors import ConfigError, shown

Hyperparameters = dict[str, Any]
State = dict[str, Any]

WEIGHT_DECAYS = ("l2", "times_lr", "decoupled")
SCALED = (torch.float16, torch.bfloat16)  # too coarse for running averages: 1 - beta2 = 0.001 is lost in bfloat16

Reach = Literal["element", "tensor", "global", "matrix", "module", "closure"]
"""How far an optimizer looks: at an entry, its tensor, all tensors, a matrix, the module, or the loss itself."""


class Shared(TypedDict, total=False):
    """The hyperparameters that every rule has, beside its own."""

    weight_decay: float
    weight_decay_form: str
    cautious: bool
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

    `cautious` keeps of a rule's step u only the d' of its d entries that go against the gradient, made larger by as
    much (Liang et al. 2024, arXiv:2411.16085, Algorithm 1); with it a rule looks at the whole tensor:

        x <- x + u 1[u g < 0] d / (d' + 1)

    Parameters in bfloat16 or float16 keep a float32 state, and the rule computes in float32.
    A sparse gradient (`nn.Embedding(sparse=True)`) updates the touched rows alone, weight decay and state included;
    only element-wise rules may see one.

    Raises:
        ConfigError: at construction, for a value that is out of range.
    """

    twin: ClassVar[str | None] = None
    """The independent implementation that tests hold the rule against, step for step, such as `torch.optim.SGD`."""
    twin_options: ClassVar[dict[str, Any]] = {}
    """Constructor arguments that make the twin this rule."""
    reach: ClassVar[Reach] = "element"
    """How far the rule looks; an element rule updates every entry from its own gradient and state alone."""
    own_decay: ClassVar[tuple[str, ...]] = ()
    """Forms of weight decay that the formula itself applies, such as LAMB's inside of its trust ratio."""
    takes_shards: ClassVar[bool] = True
    """Whether the formula holds on parameters that are sharded over devices (`DTensor`)."""
    evaluates_elsewhere: ClassVar[bool] = False
    """Whether the weights to evaluate differ from those that are trained; see `eval`."""

    def __init__(
        self,
        params: Iterable[Any],
        defaults: Hyperparameters,
        weight_decay: float = 0.0,
        weight_decay_form: str = "l2",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        shared = {
            "weight_decay": weight_decay,
            "weight_decay_form": weight_decay_form,
            "cautious": cautious,
            "maximize": maximize,
        }
        one_of(WEIGHT_DECAYS, weight_decay_form=weight_decay_form)
        at_least(0.0, lr=defaults["lr"], weight_decay=weight_decay)
        if cautious and self.evaluates_elsewhere:
            raise ConfigError(
                f"optimizer.cautious=true is not possible for {type(self).__name__}, whose parameters are not the "
                "weights that it improves; allowed is false."
            )
        self._aside: dict[Tensor, Tensor] = {}
        super().__init__(params, {**defaults, **shared})

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """Fill the state of a parameter before its first update; `p` has the parameter's shape and device."""

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """Move `p` in place, given its gradient, its state (`state["step"]` counts from 1) and its group's values."""
        raise NotImplementedError

    def evaluation_weights(self, p: Tensor, state: State, h: Hyperparameters) -> Tensor:
        """The weights to evaluate, where `evaluates_elsewhere` says that they are not `p`."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; returns the closure's loss, if there is a closure."""
        if self._aside:
            raise RuntimeError(f"{type(self).__name__} holds the weights to evaluate; call train() before step().")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._move_all()
        return loss

    @torch.no_grad()
    def eval(self) -> None:
        """Put the weights to evaluate in place of those that are trained, until `train` puts these back."""
        if not self.evaluates_elsewhere or self._aside:
            return
        for h in self.param_groups:
            for p in h["params"]:
                if state := self.state.get(p):
                    self._aside[p] = p.clone()
                    p.copy_(self.evaluation_weights(_wide(p), state, h))

    @torch.no_grad()
    def train(self) -> None:
        """Put the weights that are trained back, bit for bit."""
        for p, trained in self._aside.items():
            p.copy_(trained)
        self._aside = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies: torch would leave out the attributes that are ours."""
        return own_state(self)

    def _move_all(self) -> None:
        for h in self.param_groups:
            for p in h["params"]:
                if p.grad is not None:
                    self._move(p, *self._seen(p, h), h)

    def _seen(self, p: Tensor, h: Hyperparameters) -> tuple[Tensor, Tensor, State]:
        """What the rule sees of a parameter: itself and its gradient, in float32 at least, and its state."""
        x, g, state = _wide(p), p.grad, self.state[p]
        assert g is not None
        if g.is_sparse and (self.reach != "element" or h["cautious"]):
            what = "With cautious=true it" if self.reach == "element" else "It"
            raise RuntimeError(
                f"{type(self).__name__} cannot take a sparse gradient. {what} looks beyond single entries."
            )
        if not state:
            state["step"] = 0
            self.init(x, state, h)
        state["step"] += 1
        return x, g if g.is_sparse else g.to(x.dtype), state

    def _move(self, p: Tensor, x: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """The rule on one parameter. Where other engines than the rule itself will be chosen."""
        if g.is_sparse:
            self._update_rows(x, g, state, h)
        else:
            self._decay_and_update(x, g, state, h)
        if x is not p:
            p.copy_(x)

    def _decay_and_update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        if h["maximize"]:
            g = -g
        if (w := h["weight_decay"]) and h["weight_decay_form"] not in self.own_decay:
            match h["weight_decay_form"]:
                case "l2":
                    g = g.add(p, alpha=w)
                case "times_lr":
                    p.mul_(1 - h["lr"] * w)
                case "decoupled":
                    p.mul_(1 - w)
        if not h["cautious"]:
            self.update(p, g, state, h)
            return
        before = p.clone()
        self.update(p, g, state, h)
        u = p.sub_(before)
        downhill = (u * g < 0).to(u.dtype)
        p.mul_(downhill.mul_(downhill.numel() / (downhill.sum() + 1))).add_(before)

    def _update_rows(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """The same update on the rows that the gradient touches; their state alone moves."""
        g = g.coalesce()
        rows = g.indices()[0]
        kept = {key: s for key, s in state.items() if isinstance(s, Tensor)}
        p_rows, state_rows = p[rows], {**state, **{key: s[rows] for key, s in kept.items()}}
        self._decay_and_update(p_rows, g.values().to(p.dtype), state_rows, h)
        p[rows] = p_rows
        for key, value in state_rows.items():
            if key in kept:
                kept[key][rows] = value
            else:
                state[key] = value

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.add_param_group`; a group's own values must be such as the constructor takes."""
        own = {key: value for key, value in param_group.items() if key in self.defaults}
        if own:
            self._check({**self.defaults, **own})
        super().add_param_group(param_group)

    def _check(self, values: Hyperparameters) -> None:
        """Raise ConfigError for values that the constructor does not take."""
        type(self)([torch.zeros(1)], **values)

    def state_dict(self) -> dict[str, Any]:
        """As `torch.optim.Optimizer.state_dict`.

        Raises:
            RuntimeError: the weights to evaluate are in place, so that what is trained would be lost.
        """
        if self._aside:
            raise RuntimeError(
                f"{type(self).__name__} holds the weights to evaluate; call train() before state_dict()."
            )
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.load_state_dict`, but each state tensor keeps its own dtype."""
        self._aside = {}
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)


class GlobalRule(Rule):
    """A rule that sees all parameters before it moves any."""

    reach: ClassVar[Reach] = "global"

    def survey(self, seen: Sequence[tuple[Tensor, Tensor, State, Hyperparameters]]) -> None:
        """What the rule must know of all parameters: (p, gradient, state, its group's values) of each with a gradient.

        The gradients are as autograd left them: neither `maximize` nor weight decay is in them (see `as_minimised`).
        """
        raise NotImplementedError

    def _move_all(self) -> None:
        params = [(p, h) for h in self.param_groups for p in h["params"] if p.grad is not None]
        seen = [(p, *self._seen(p, h), h) for p, h in params]
        self.survey([entry[1:] for entry in seen])
        for entry in seen:
            self._move(*entry)


def as_minimised(p: Tensor, g: Tensor, h: Hyperparameters) -> Tensor:
    """The gradient with `maximize` and the L2 penalty in it, as `update` is given it."""
    g = -g if h["maximize"] else g
    return g.add(p, alpha=h["weight_decay"]) if h["weight_decay"] and h["weight_decay_form"] == "l2" else g


def own_state(optimizer: Optimizer) -> dict[str, Any]:
    """All attributes of an optimizer for its copy, but for hooks on it."""
    return {key: value for key, value in vars(optimizer).items() if not key.startswith("_optimizer_")}


def keep_dtypes(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """Give the state that `optimizer` has loaded the dtypes that it was saved with.

    torch casts state to the parameter's dtype, which would round the float32 state of bfloat16 parameters.
    """
    saved_ids = [i for group in state_dict["param_groups"] for i in group["params"]]
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in zip(saved_ids, params, strict=True):
        for key, value in state_dict["state"].get(i, {}).items():
            if isinstance(value, Tensor):
                loaded = optimizer.state[p]
                loaded[key] = value.to(loaded[key].device, copy=True)  # torch leaves its own counters on the CPU


def _wide(p: Tensor) -> Tensor:
    return p.float() if p.dtype in SCALED else p


def at_least(bound: float, **values: float) -> None:
    """Raise ConfigError for the first value below `bound`, infinite or not a number."""
    for key, value in values.items():
        if not bound <= value < math.inf:
            raise ConfigError(f"optimizer.{key}={value} is not possible; allowed is a number of {bound:g} or more.")


def one_of(allowed: Sequence[str], **values: str) -> None:
    """Raise ConfigError for the first value that is not among the allowed ones."""
    for key, value in values.items():
        if value not in allowed:
            raise ConfigError(f"optimizer.{key}={shown(value)} is unknown; allowed are {', '.join(allowed)}.")


def fractions(**values: float | Sequence[float]) -> None:
    """Raise ConfigError for the first value, or list with a value, outside [0, 1)."""
    for key, value in values.items():
        entries = value if isinstance(value, Sequence) else [value]
        if not all(0.0 <= entry < 1.0 for entry in entries):
            allowed = "are numbers" if isinstance(value, Sequence) else "is a number"
            raise ConfigError(f"optimizer.{key}={shown(value)} is not possible; allowed {allowed} from 0 to below 1.")
