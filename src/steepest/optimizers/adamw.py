"""AdamW."""

from collections.abc import Iterable
from typing import Any

from steepest.optimizers.adam import Adam


class AdamW(Adam):
    """AdamW: Adam whose weight decay stays outside the adaptive scaling. Loshchilov and Hutter 2019, arXiv:1711.05101.

        x_t = x_{t-1} - lr weight_decay x_{t-1} - lr m^_t / (sqrt(v^_t) + eps)     weight_decay_form = times_lr
        x_t = (1 - weight_decay) x_{t-1}        - lr m^_t / (sqrt(v^_t) + eps)     weight_decay_form = decoupled

    with m^ and v^ of Adam. The first form is torch's; in the second the decay does not depend on lr, so that it needs
    values some lr times smaller (1e-5 where the first takes 1e-2).
    """

    twin = "torch.optim.AdamW"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        weight_decay_form: str = "times_lr",
        cautious: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay=weight_decay,
            weight_decay_form=weight_decay_form,
            cautious=cautious,
            maximize=maximize,
        )
