"""Schedule-free SGD."""

from collections.abc import Iterable
from typing import Any, Unpack

from torch import Tensor

from steepest.errors import ConfigError, shown
from steepest.optimizers.rule import Hyperparameters, Rule, Shared, State, at_least, fractions


class ScheduleFreeSGD(Rule):
    """Schedule-free SGD: an average of the iterates, and no falling lr. Defazio et al. 2024, arXiv:2405.15682.

        z_t = z_{t-1} - lr g_t                                   with g_t at y_{t-1}
        x_t = (1 - c_t) x_{t-1} + c_t z_t,    c_t = a_t / (a_1 + ... + a_t),    a_t = t^r lr_max^weight_lr_power
        y_t = (1 - momentum) z_t + momentum x_t

    The parameters are y, where gradients are taken; the weights to evaluate are x, which `eval` puts in their place.
    The state is z, and x is what y and z leave of it. lr_max is the largest lr so far, so that a warm-up counts
    less; a warm-up is all the schedule that the rule needs. In one line, as computed:

        y_t = (1 - c_t) y_{t-1} + c_t z_{t-1} - lr (1 - momentum (1 - c_t)) g_t

    Where a schedule changes the momentum, y is made anew of x and z; with sparse gradients rows that are not touched
    from then on are evaluated as if theirs had been, too.

    Weight decay acts at y, in every form: weight_decay y_{t-1} is a part of the step that z and y take. The forms l2
    and times_lr are the same here.
    """

    twin = "pytorch_optimizer.ScheduleFreeSGD"
    own_decay = ("times_lr", "decoupled")
    evaluates_elsewhere = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        momentum: float = 0.9,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        **shared: Unpack[Shared],
    ) -> None:
        fractions(momentum=momentum)
        above_zero(momentum, momentum=momentum)
        at_least(0.0, r=r, weight_lr_power=weight_lr_power)
        super().__init__(params, {"lr": lr, "momentum": momentum, "r": r, "weight_lr_power": weight_lr_power}, **shared)

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """z_0 = y_0; the sum of the a_t is 0."""
        state["z"], state["lr_max"], state["a_sum"], state["share"] = p.clone(), 0.0, 0.0, h["momentum"]

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, y before z."""
        z, momentum, c = state["z"], h["momentum"], average_weight(state, h)
        step = g.mul(h["lr"]).add_(p, alpha=decay_at_y(h))
        share_out(p, state, momentum)
        p.lerp_(z, c).sub_(step, alpha=1 - momentum * (1 - c))
        z.sub_(step)

    def evaluation_weights(self, p: Tensor, state: State, h: Hyperparameters) -> Tensor:
        """The average x_t = (y_t - (1 - momentum) z_t) / momentum."""
        return p.lerp(state["z"], 1 - 1 / state["share"])


def share_out(p: Tensor, state: State, share: float) -> None:
    """Make y of x and z with this share of x, where a schedule has changed it since y was made."""
    if share == 0.0:
        raise ConfigError(
            "schedule.min_momentum=0 is not possible for a schedule-free optimizer, since a momentum of 0 leaves "
            "nothing of its average; allowed is a number above 0."
        )
    if share != state["share"]:
        p.lerp_(state["z"], 1 - share / state["share"])
        state["share"] = share


def average_weight(state: State, h: Hyperparameters) -> float:
    """c_t, the weight of z_t in the average; 0 while lr is."""
    state["lr_max"] = max(state["lr_max"], h["lr"])
    a = state["step"] ** h["r"] * state["lr_max"] ** h["weight_lr_power"]
    state["a_sum"] += a
    return float(a / state["a_sum"]) if state["a_sum"] else 0.0


def decay_at_y(h: Hyperparameters) -> float:
    """The share of y in a step; the base has put the form l2 into the gradient."""
    w = h["weight_decay"]
    return float({"l2": 0.0, "times_lr": h["lr"] * w, "decoupled": w}[h["weight_decay_form"]])


def above_zero(share: float, **values: Any) -> None:
    """Raise ConfigError for a share of x in y of 0, from which x could not be had."""
    for key, value in values.items():
        if share == 0.0:
            wanted = "a first number" if isinstance(value, list | tuple) else "a number"
            raise ConfigError(
                f"optimizer.{key}={shown(value)} is not possible; allowed is {wanted} above 0 and below 1."
            )
