"""An exponential average of a network's weights."""

import copy
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn


class Average(nn.Module):
    """A copy of a network whose weights follow it slowly: w <- d w + (1 - d) w_network.

    Polyak-Ruppert averaging with exponential weights, for GANs Yazici et al. 2018, arXiv:1806.04498. The decay grows
    with the number t of the update, so that short runs are not full of the initial weights:

        d_t = min(decay, (1 + t) / (10 + t)),    t = 1, 2, ...

    Buffers, such as the running statistics of batch norm, are the network's. The copy's weights are buffers too:
    nothing trains them, and no parameter is counted twice. They stay in float32 where all else is cast to bfloat16,
    which would lose the small shares of the network.

    Args:
        network: what is averaged; it stays as it is.
        decay: in [0, 1); 0 follows the network at once.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.names = [name for name, _ in network.named_parameters()]
        self.network = copy.deepcopy(network)
        for layer in self.network.modules():
            for name, parameter in list(layer._parameters.items()):
                if parameter is not None:
                    del layer._parameters[name]
                    layer.register_buffer(name, parameter.detach().clone())

    @torch.no_grad()
    def update(self, network: nn.Module, t: int) -> None:
        """Take in the weights of the network, for the t-th time."""
        d = min(self.decay, (1 + t) / (10 + t))
        own = dict(self.network.named_buffers())
        weights = [own[name] for name in self.names]
        theirs = [p.to(w.dtype) for p, w in zip(network.parameters(), weights, strict=True)]
        torch._foreach_lerp_(weights, theirs, 1 - d)
        for name, buffer in network.named_buffers():
            own[name].copy_(buffer)

    def forward(self, *inputs: Any) -> Any:
        """What the averaged network gives, in evaluation."""
        return self.network.eval()(*inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """As `nn.Module`, which moves and casts by this, but never to less than float32."""
        return super()._apply(lambda tensor: wide(tensor, fn(tensor)), recurse)


def wide(before: Tensor, after: Tensor) -> Tensor:
    """The tensor where it was moved to, in the dtype it had if the new one has less than float32."""
    return before.to(after.device) if after.dtype in (torch.bfloat16, torch.float16) else after
