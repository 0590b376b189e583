"""Linear equations whose matrix is known by its products alone."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float) -> Tensor:
    """Solve A z = b for a symmetric A that is known by its products, from z = 0. Hestenes and Stiefel 1952.

    Along a direction of no or of negative curvature it ends with what it has, and with b where it has nothing yet:
    Nocedal and Wright 2006, Algorithm 7.1. Either way b . z > 0.

    Args:
        product: v to A v.
        b: [n], not zero.
        iterations: the most products that it may take.
        tolerance: it ends when |b - A z| is no more than this share of |b|.
    """
    z, r, p = torch.zeros_like(b), b, b
    rr = b @ b
    enough = tolerance**2 * rr
    for i in range(iterations):
        Ap = product(p)
        pAp = p @ Ap
        if not pAp > 0:
            return b if i == 0 else z
        a = rr / pAp
        z, r, rr_before = z + a * p, r - a * Ap, rr
        rr = r @ r
        if rr <= enough:
            break
        p = r + rr / rr_before * p
    return z
