"""The base of the optimizers that call the loss themselves."""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

from steepest.errors import ConfigError, shown
from steepest.optimizers.objective import Objective
from steepest.optimizers.rule import Hyperparameters, Reach, State, at_least, keep_dtypes, one_of

LINE_SEARCHES = ("strong_wolfe", "none")


class ClosureRule(Optimizer):
    """An optimizer that calls the loss itself: for curvature, or to see where a step leads before it is taken.

    A subclass writes `advance`, one step on the flat vector of all trainable parameters. The base owns the flat vector,
    the objective with its weight decay and `maximize`, the closure, the line search, low precision and checkpoints.

    `step(closure)` is one iteration on one fixed batch: the closure returns the loss with its graph and calls no
    backward(); it may be called several times and must be the same function each time (the same examples, the same
    dropout mask). The next step evaluates anew, so that it may have another batch. Where gradients are enough, a
    closure as torch.optim.LBFGS takes it (zero_grad, backward, return the loss) does as well.

    Weight decay w is the L2 penalty w/2 |x|^2 alone, since a line search needs it inside of the objective, and each
    group has its own. All other values are one for all groups. `lr` scales the first step length that the line search
    tries (1 is the formula's own), and is the step length itself where `line_search` is none. A step whose loss or
    gradient is not finite leaves the parameters where they are.

    Parameters in bfloat16 or float16 take a step that is computed in float32. The loss and its gradient are those of
    this process alone, so that it is not for training on several at once.

    Raises:
        ConfigError: for a value that is out of range, or that differs between the groups.
    """

    twin: ClassVar[str | None] = None
    """The independent implementation that tests hold the rule against, step for step."""
    twin_options: ClassVar[dict[str, Any]] = {}
    """Constructor arguments that make the twin this rule."""
    reach: ClassVar[Reach] = "closure"
    """It looks at the loss itself."""
    evaluates_elsewhere: ClassVar[bool] = False
    """The weights to evaluate are those that are trained."""
    needs_graph: ClassVar[bool] = False
    """Whether it takes second derivatives, so that the closure must not call backward()."""
    needs_divergence: ClassVar[bool] = False
    """Whether the closure returns a pair: the loss, and a divergence that has the curvature."""

    def __init__(
        self, params: Iterable[Any], defaults: Hyperparameters, weight_decay: float = 0.0, maximize: bool = False
    ) -> None:
        at_least(0.0, lr=defaults["lr"], weight_decay=weight_decay)
        one_of(LINE_SEARCHES, line_search=defaults["line_search"])
        super().__init__(params, {**defaults, "weight_decay": weight_decay, "maximize": maximize})

    def advance(self, f: Objective, state: State, h: Hyperparameters) -> None:
        """Take one step by `f.move`, given the state, which is one for all parameters, and the groups' values."""
        raise NotImplementedError

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One iteration on the closure's loss; returns the loss at its start."""
        if closure is None:
            raise RuntimeError(f"{type(self).__name__} needs step(closure), with a closure that returns the loss.")
        self._check_groups()
        h = self.param_groups[0]
        f = Objective(closure, self.param_groups, type(self).__name__, self.needs_graph, self.needs_divergence)
        square = float(f.gradient @ f.gradient)  # 0 also where the entries are too small to be squared
        usable = math.isfinite(f.value) and math.isfinite(square) and square > 0
        if usable and h["lr"] > 0:
            state = self.state[h["params"][0]]
            if state.get("size") != len(f.x):  # the first step, or a layer was frozen or added since the last one
                state.clear()
                state["size"] = len(f.x)
            self.advance(f, state, h)
        return f.loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.add_param_group`; the values must be those of the other groups."""
        super().add_param_group(param_group)
        self._check_groups()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As `torch.optim.Optimizer.load_state_dict`, but each state tensor keeps its own dtype."""
        super().load_state_dict(state_dict)
        keep_dtypes(self, state_dict)

    def _check_groups(self) -> None:
        for key in (self.defaults.keys() & self.param_groups[0].keys()) - {"weight_decay"}:
            values = [h[key] for h in self.param_groups]
            if any(value != values[0] for value in values):
                raise ConfigError(
                    f"optimizer.{key}={shown(values)} of the parameter groups is not possible for "
                    f"{type(self).__name__}, whose step is one for all parameters; allowed is one value for all."
                )


def counts(least: int, **values: int) -> None:
    """Raise ConfigError for the first value that is not a whole number of `least` or more."""
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(
                f"optimizer.{key}={shown(value)} is not possible; allowed is an integer of {least} or more."
            )
