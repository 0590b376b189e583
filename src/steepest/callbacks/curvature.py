"""How sharp the loss is: the largest eigenvalue of its Hessian."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


def top_eigenvalue(
    loss: Callable[[], Tensor],
    params: Sequence[nn.Parameter],
    iterations: int = 20,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> float:
    """The largest eigenvalue of the Hessian of a loss, by power iteration on products of it and a vector.

        v_{k+1} = H v_k / |H v_k|,   lambda = v_k . H v_k

    The iteration finds the eigenvalue of the largest magnitude. Where that is negative, a second one finds the largest
    of H - lambda I, which is above it by -lambda. One forward pass; each iteration costs about two gradients.

    Args:
        loss: gives the loss with its graph.
        params: what it is a function of.
        iterations: at most so many of each kind.
        tolerance: relative change of the eigenvalue at which it ends.
        seed: of the vector that it begins with.

    Raises:
        RuntimeError: a layer of the model has no second derivative.
    """
    # The fused kernels of attention, and cuDNN's recurrent ones, have no second derivative.
    with sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
        slopes = torch.autograd.grad(loss(), params, create_graph=True, allow_unused=True, materialize_grads=True)
        pairs = [(slope, p) for slope, p in zip(slopes, params, strict=True) if slope.requires_grad]
        if not pairs:
            return 0.0  # the loss is linear

        def product(v: list[Tensor]) -> list[Tensor]:
            """H v."""
            within = [p for _, p in pairs]
            found = torch.autograd.grad(
                [slope for slope, _ in pairs], within, v, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            return list(found)

        generator = torch.Generator().manual_seed(seed)
        start = [torch.randn(p.shape, generator=generator).to(p.device, p.dtype) for _, p in pairs]
        largest = iterate(product, start, iterations, tolerance)
        if largest >= 0:
            return largest

        def shifted(v: list[Tensor]) -> list[Tensor]:
            """(H - lambda I) v."""
            return [h - largest * x for h, x in zip(product(v), v, strict=True)]

        return largest + iterate(shifted, start, iterations, tolerance)


def iterate(
    product: Callable[[list[Tensor]], list[Tensor]], start: list[Tensor], iterations: int, tolerance: float
) -> float:
    """The eigenvalue of the largest magnitude of what `product` multiplies by; 0 for a product of zero."""
    v, value = scaled(start, 1 / float(dot(start, start)) ** 0.5), 0.0
    for _ in range(iterations):
        w = product(v)
        before, value = value, float(dot(v, w))
        length = float(dot(w, w)) ** 0.5
        if not length or abs(value - before) <= tolerance * abs(value):
            break
        v = scaled(w, 1 / length)
    return value


def dot(one: Sequence[Tensor], two: Sequence[Tensor]) -> Tensor:
    """The inner product of two vectors in parts, in float32 or better."""
    least = torch.promote_types(one[0].dtype, torch.float32)
    return torch.stack([(a.to(least) * b.to(least)).sum() for a, b in zip(one, two, strict=True)]).sum()


def scaled(vector: Sequence[Tensor], factor: float) -> list[Tensor]:
    """The vector times a number."""
    return [part.detach() * factor for part in vector]
