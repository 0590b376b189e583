"""Prodigy."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from steepest.errors import ConfigError
from steepest.optimizers.rule import GlobalRule, Hyperparameters, State, as_minimised, at_least, fractions


class Prodigy(GlobalRule):
    """Prodigy: Adam that finds its own step size. Mishchenko and Defazio 2023, arXiv:2306.06101, Algorithm 4.

        r_t = b3 r_{t-1} + lr d_t^2 <g_t, x_0 - x_{t-1}>          over all parameters
        s_t = b3 s_{t-1} + lr d_t^2 g_t
        d_{t+1} = max(d_t, d_coefficient r_t / |s_t|_1)           at most growth_rate d_t
        m_t = b1 m_{t-1} + (1 - b1) d_t g_t
        v_t = b2 v_{t-1} + (1 - b2) d_t^2 g_t^2
        x_t = x_{t-1} - lr d_t m_t / (sqrt(v_t) + d_{t+1} eps)

    d estimates the distance from x_0 to the solution, from d_1 = d0; it is one number for all parameters, and lr = 1 is
    meant to stay. This is the authors' code, which differs from the paper: the paper has d_t before eps and a factor
    1 - b3 in r and s, which cancels. In code r and s are divided by d0, lest they be too small for float32. The bound
    of growth_rate does not hold before d has left d0. `bias_correction` is Adam's, as a factor of lr, and
    `safeguard_warmup` leaves lr out of s, so that a warm-up does not make d grow too far.
    Weight decay of the form times_lr shrinks x by lr d_t weight_decay.

    d, d_max (the largest estimate so far) and r stand in the parameter groups. The rule has to wait for two sums each
    step: d is a number of Python.
    """

    twin = "pytorch_optimizer.Prodigy"
    own_decay = ("times_lr",)
    takes_shards = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        beta3: float | None = None,
        d0: float = 1e-6,
        d_coefficient: float = 1.0,
        growth_rate: float | None = None,
        bias_correction: bool = False,
        safeguard_warmup: bool = False,
        weight_decay: float = 0.0,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        fractions(betas=betas)
        if beta3 is not None:
            fractions(beta3=beta3)
        at_least(0.0, eps=eps, d_coefficient=d_coefficient)
        if growth_rate is not None:
            at_least(1.0, growth_rate=growth_rate)
        if not 0.0 < d0 < math.inf:
            raise ConfigError(f"optimizer.d0={d0} is not possible; allowed is a number above 0.")
        own = {
            "lr": lr,
            "betas": list(betas),
            "eps": eps,
            "beta3": beta3,
            "d0": d0,
            "d_coefficient": d_coefficient,
            "growth_rate": growth_rate,
            "bias_correction": bias_correction,
            "safeguard_warmup": safeguard_warmup,
        }
        self._d = d0
        super().__init__(
            params,
            own,
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )

    def init(self, p: Tensor, state: State, h: Hyperparameters) -> None:
        """x_0 is kept; s_0 = 0, m_0 = 0, v_0 = 0."""
        state["x0"] = p.clone()
        state["s"], state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p), torch.zeros_like(p)

    def survey(self, seen: Sequence[tuple[Tensor, Tensor, State, Hyperparameters]]) -> None:
        """The first three lines of the formula; what is one number for all comes from the first group."""
        if not seen:
            return
        one = self.param_groups[0]
        d0, b3 = one["d0"], math.sqrt(one["betas"][1]) if one["beta3"] is None else one["beta3"]
        d = self._d = one.get("d", d0)
        products, lengths = [], []
        for p, g, state, h in seen:
            g = as_minimised(p, g, h)
            rate = _rate(d, state, h)
            if rate == 0:
                continue  # what does not move says nothing of the distance
            products.append(torch.dot(g.flatten(), (state["x0"] - p).flatten()) * (d / d0 * rate))
            s = state["s"].mul_(b3).add_(g, alpha=d / d0 * (d if h["safeguard_warmup"] else rate))
            lengths.append(s.abs().sum())
        if not products:
            products = lengths = [torch.zeros(())]
        new, length = torch.stack([_total(products), _total(lengths)]).tolist()
        r = b3 * one.get("r", 0.0) + new
        d_max = one.get("d_max", d0)
        if length > 0:
            estimate = one["d_coefficient"] * r / length
            d_max = max(d_max, estimate)
            d = max(d, estimate) if d == d0 else d
            d = min(d_max, d * (one["growth_rate"] or math.inf))
        for h in self.param_groups:
            h.update(d=d, d_max=d_max, r=r)

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """The last three lines of the formula."""
        d, d_next, (b1, b2) = self._d, h["d"], h["betas"]
        m = state["m"].mul_(b1).add_(g, alpha=(1 - b1) * d)
        v = state["v"].mul_(b2).addcmul_(g, g, value=(1 - b2) * d * d)
        rate = _rate(d, state, h)
        if h["weight_decay_form"] == "times_lr":
            p.mul_(1 - rate * h["weight_decay"])
        p.addcdiv_(m, v.sqrt().add_(d_next * h["eps"]), value=-rate)


def _rate(d: float, state: State, h: Hyperparameters) -> float:
    """The factor lr d_t, with the bias correction where it is asked for."""
    (b1, b2), t = h["betas"], state["step"]
    return float(d * h["lr"] * (math.sqrt(1 - b2**t) / (1 - b1**t) if h["bias_correction"] else 1.0))


def _total(numbers: list[Tensor]) -> Tensor:
    """The sum of 0-d tensors, wherever they are."""
    return torch.stack([number.to(numbers[0].device) for number in numbers]).sum()
