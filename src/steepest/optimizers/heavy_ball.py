"""The heavy ball: momentum with the learning rate inside the velocity."""

from torch import Tensor

from steepest.optimizers.rule import Hyperparameters, State
from steepest.optimizers.sgd_momentum import SGDMomentum


class HeavyBall(SGDMomentum):
    """Heavy ball: a step remembers the steps before it. Polyak 1964, USSR Comput. Math. Math. Phys. 4(5), 1-17.

        v_t = momentum v_{t-1} + lr g_t
        x_t = x_{t-1} - v_t

    torch.optim.SGD and `sgd_momentum` have the learning rate outside: x_t = x_{t-1} - lr v_t. Both are equal while lr
    is constant. When lr drops, the velocity gathered here stays as long as it was and dies away by `momentum` a step.
    """

    twin = "torch.optim.SGD"

    def update(self, p: Tensor, g: Tensor, state: State, h: Hyperparameters) -> None:
        """One step of the formula, a line for a line."""
        v = state["v"].mul_(h["momentum"]).add_(g, alpha=h["lr"])
        p.sub_(v)
