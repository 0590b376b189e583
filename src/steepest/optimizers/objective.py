"""The objective of one step of an optimizer that calls the loss itself."""

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from steepest.optimizers.line_search import strong_wolfe
from steepest.optimizers.rule import Hyperparameters


class Objective:
    """What one step minimises: f(x) + 1/2 sum_i w_i x_i^2, of the flat vector x of all trainable parameters.

    f is the loss, or -loss where the groups say `maximize`; w is each group's weight decay.

    Attributes:
        x: where the step starts, [n], in float32 at least.
        loss: the loss there, as the closure returned it, without its graph.
        value: the objective there.
        gradient: its gradient there, [n].

    Args:
        closure: what `step` was given.
        groups: the optimizer's parameter groups.
        name: the optimizer's, for messages.
        needs_graph: whether `product` and `matrix` will be asked for.
        needs_divergence: whether the closure returns a loss and a divergence, of which the second has the curvature.

    Raises:
        RuntimeError: the closure returns something else, or has called backward() where the graph is needed.
    """

    def __init__(
        self,
        closure: Callable[[], Any],
        groups: Sequence[Hyperparameters],
        name: str,
        needs_graph: bool = False,
        needs_divergence: bool = False,
    ) -> None:
        pairs = [(p, h["weight_decay"]) for h in groups for p in h["params"] if p.requires_grad]
        if not pairs:
            raise RuntimeError(f"{name} has no parameter to train: none requires a gradient.")
        self.params = [p for p, _ in pairs]
        self.sign = -1.0 if groups[0]["maximize"] else 1.0
        self.device = groups[0]["params"][0].device
        self.dtype = torch.float64 if any(p.dtype == torch.float64 for p in self.params) else torch.float32
        self.w = self._flat([torch.full_like(p, w, dtype=self.dtype) for p, w in pairs])
        self.closure, self.name, self.needs_graph, self.needs_divergence = closure, name, needs_graph, needs_divergence
        self.x = self._flat(self.params)
        self._here: Tensor | None = None
        self._slopes: Sequence[Tensor] = []
        self.loss, self.value, self.gradient = self._evaluate(self.x, curvature=needs_graph)

    def product(self, v: Tensor) -> Tensor:
        """The curvature at the start times `v`, [n]: the Hessian, or what the second of the closure's values has."""
        parts = [(s, part) for s, part in zip(self._slopes, self._split(v), strict=True) if s.requires_grad]
        if not parts:
            return self.w * v
        slopes, vectors = zip(*parts, strict=True)
        return self._flat(self._grads(slopes, vectors, retain_graph=True)) + self.w * v

    def matrix(self) -> Tensor:
        """The curvature at the start as a whole, [n, n]."""
        rows = torch.stack([self.product(e) for e in torch.eye(len(self.x), dtype=self.dtype, device=self.device)])
        return (rows + rows.T) / 2

    def move(self, d: Tensor, length: float, line_search: str, c2: float = 0.9) -> Tensor | None:
        """Go along `d`, and say how far: x_t - x_{t-1}; None, and no move, where nothing lower lies that way.

        Args:
            d: the direction, [n].
            length: in units of `d`; the first that a line search tries, or the one to take.
            line_search: strong_wolfe or none.
            c2: how flat it must be at the end, as a share of the slope at the start.
        """
        self._slopes = []  # their graph does not outlive the point
        slope = float(self.gradient @ d)
        if not -math.inf < slope < 0:
            return None
        if line_search == "none":
            return self._go(length * d)
        gradients: dict[float, Tensor] = {}

        def phi(u: float) -> tuple[float, float]:
            _, value, gradient = self._evaluate(self._put(self.x + u * length * d))
            if not (math.isfinite(value) and gradient.isfinite().all()):
                return math.inf, 0.0
            if value < self.value:
                gradients[u] = gradient
            return value, float(gradient @ d) * length

        try:
            u = strong_wolfe(phi, self.value, slope * length, c2, torch.finfo(self.dtype).eps)
        except BaseException:
            self._put(self.x)
            raise
        if u == 0:
            self._put(self.x)
            return None
        self._here = gradients[u]
        return self._go(u * length * d)

    def _go(self, s: Tensor) -> Tensor:
        """Move by `s` from the start; returns the move that low precision has made of it."""
        x = self.x + s
        held = self._put(x)
        return s if held is x else held - self.x

    def new_gradient(self) -> Tensor:
        """The gradient where the parameters are now, of the same loss; a line search has it already."""
        if self._here is None:
            self._here = self._evaluate(self._flat(self.params))[2]
        return self._here

    def _evaluate(self, x: Tensor, curvature: bool = False) -> tuple[Tensor, float, Tensor]:
        """Loss, value and gradient at x, where the parameters are."""
        for p in self.params:
            p.grad = None
        with torch.enable_grad(), self._attention():
            values = self._losses()
            f = self.sign * values[0]
            grads: Sequence[Tensor | None]
            if any(p.grad is not None for p in self.params):
                grads = [p.grad if p.grad is None else self.sign * p.grad for p in self.params]
            else:
                own_curvature = curvature and len(values) == 1
                grads = slopes = self._grads(f, create_graph=own_curvature, retain_graph=curvature)
                if curvature:
                    self._slopes = slopes if own_curvature else self._grads(values[-1], create_graph=True)
        value = f.item() + (0.5 * self.w * x * x).sum().item()
        return values[0].detach().clone(), value, self._flat(grads) + self.w * x

    def _attention(self) -> AbstractContextManager[None]:
        """The fused kernels of scaled_dot_product_attention have no second derivatives."""
        return sdpa_kernel(SDPBackend.MATH) if self.needs_graph else nullcontext()

    def _losses(self) -> Sequence[Tensor]:
        name, expected = self.name, ["the loss", "the divergence"] if self.needs_divergence else ["the loss"]
        values = self.closure()
        values = values if isinstance(values, tuple) else (values,)
        numbers = [value for value in values if isinstance(value, Tensor) and value.numel() == 1]
        if len(values) != len(expected) or len(numbers) != len(expected):
            raise RuntimeError(
                f"{name} needs a closure that returns {' and '.join(expected)}, each a tensor with one number."
            )
        backward_is_done = any(p.grad is not None for p in self.params)
        if self.needs_graph and backward_is_done:
            raise RuntimeError(f"{name} needs second derivatives: the closure must return the loss before backward().")
        if not backward_is_done and not all(value.requires_grad for value in values):
            raise RuntimeError(f"{name} needs a closure that returns the loss with its graph, not a detached one.")
        return values

    def _grads(
        self, f: Any, vectors: Any = None, create_graph: bool = False, retain_graph: bool = False
    ) -> Sequence[Tensor]:
        """Derivatives in every parameter, zeros where there is none."""
        keep = create_graph or retain_graph
        return torch.autograd.grad(
            f, self.params, vectors, keep, create_graph, allow_unused=True, materialize_grads=True
        )

    def _flat(self, tensors: Iterable[Tensor | None]) -> Tensor:
        """Tensors in the parameters' shapes as one vector; None is zero."""
        full = (torch.zeros_like(p) if t is None else t for t, p in zip(tensors, self.params, strict=True))
        return torch.cat([t.detach().to_dense().to(self.device, self.dtype).reshape(-1) for t in full])

    def _split(self, x: Tensor) -> list[Tensor]:
        parts = x.split([p.numel() for p in self.params])
        return [part.view(p.shape).to(p.device, p.dtype) for part, p in zip(parts, self.params, strict=True)]

    def _put(self, x: Tensor) -> Tensor:
        """Set the parameters; returns what they hold of x, which low precision rounds."""
        for p, part in zip(self.params, self._split(x), strict=True):
            p.copy_(part)
        return x if all(p.dtype == self.dtype for p in self.params) else self._flat(self.params)
