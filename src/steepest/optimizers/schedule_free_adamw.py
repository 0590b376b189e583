"""Schedule-free AdamW."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, Rule, State, at_least, fractions
from steepest.optimizers.schedule_free_sgd import above_zero, average_weight, decay_at_y, share_out


class ScheduleFreeAdamW(Rule):
    """Schedule-free AdamW: an average of the iterates, and no schedule. Defazio et al. 2024, arXiv:2405.15682, Alg. 1.

        v_t = b2 v_{t-1} + (1 - b2) g_t^2                        with g_t at y_{t-1}
        u_t = g_t / (sqrt(v^_t) + eps) + weight_decay y_{t-1},   v^_t = v_t / (1 - b2^t)
        z_t = z_{t-1} - lr u_t
        x_t = (1 - c_t) x_{t-1} + c_t z_t,    c_t = a_t / (a_1 + ... + a_t),    a_t = t^r lr_max^weight_lr_power
        y_t = (1 - b1) z_t + b1 x_t

    The parameters are y, where gradients are taken; the weights to evaluate are x, which `eval` puts in their place.
    The state is z; lr_max is the largest lr so far, and a warm-up is all the schedule that the rule needs. This is the
    form of the authors' code: in the paper's algorithm lr has the bias correction and the warm-up in it, and so have
    the weights a_t. Weight decay acts at y: a decay of y alone, as the base would do it, would push x away from z.
    The running statistics of batch normalisation are those of y; the authors advise to take them anew at x.
    """

    twin = "pytorch_optimizer.ScheduleFreeAdamW"
    own_decay = ("times_lr", "decoupled")
    evaluates_elsewhere = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        r: float = 0.0,
        weight_lr_power: float = 2.0,
        weight_decay: float = 0.0,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(betas=betas)
        above_zero(betas[0], betas=betas)
        at_least(0.0, eps=eps, r=r, weight_lr_power=weight_lr_power)
        super().__init__(
            params,
            {"lr": lr, "betas": list(betas), "eps": eps, "r": r, "weight_lr_power": weight_lr_power},
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """z_0 = y_0, v_0 = 0; the sum of the a_t is 0."""
        state["z"], state["v"], state["lr_max"], state["a_sum"] = p.clone(), torch.zeros_like(p), 0.0, 0.0
        state["share"] = h["betas"][0]

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, y before z; `step` is lr u_t."""
        z, (b1, b2), t, c = state["z"], h["betas"], state["step"], average_weight(state, h)
        v = state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
        root = v.div(1 - b2**t).sqrt_().add_(h["eps"])
        step = torch.div(g, root, out=root).mul_(h["lr"]).add_(p, alpha=decay_at_y(h))
        share_out(p, state, b1)
        p.lerp_(z, c).sub_(step, alpha=1 - b1 * (1 - c))
        z.sub_(step)

    def evaluation_weights(self, p: Tensor, state: State, h: Hyperparameters) -> Tensor:
        """The average x_t = (y_t - (1 - b1) z_t) / b1."""
        return p.lerp(state["z"], 1 - 1 / state["share"])
