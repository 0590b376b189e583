"""Layers whose Fisher matrix is nearly a Kronecker product, and its two factors."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from steepest.optimizers.rule import SCALED


class Factored:
    """A layer s = W' a, and what backward passes have shown of it since the last step. Here: nn.Linear.

    Its inputs a end with a 1 that the bias belongs to, so that W' = [W b]; g is the gradient of an example's loss with
    respect to s. Where an example has many positions (tokens, pixels, uses of a shared layer), these are taken for
    independent ("expand"; Eschenhagen et al. 2023, arXiv:2311.00636), and the Fisher matrix of W' is A kron G with

        A = mean over examples and positions of a a^T
        G = mean over examples of the sum over positions of g g^T

    Grosse and Martens 2016, arXiv:1602.01407, sum over positions in A (Omega) and average in G (Gamma): the product is
    the same, and so are the damped inverses. The loss is a mean over N examples, so g is N times what backward
    gives. N is the first dimension of the layer's inputs, added up over forward passes.
    """

    batched = 2
    """Dimensions of an input with a first dimension of examples; with fewer it is one example."""

    def __init__(self, layer: Any, bias: nn.Parameter | None) -> None:
        self.layer, self.weight, self.bias = layer, layer.weight, bias
        self.forget()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weight and, where it is preconditioned with it, the bias."""
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def forget(self) -> None:
        """Drop what was seen since the last step."""
        self.sums: tuple[Tensor, Tensor] | None = None
        self.examples = self.positions = 0
        self.passes: set[object] = set()

    @torch.no_grad()
    def add(self, x: Tensor, g: Tensor, forward_pass: object) -> None:
        """Add the inputs of a call and what backward gave at its outputs; a forward pass counts its examples once."""
        with torch.autocast(g.device.type, enabled=False):
            a, g = self.rows(x, g)
            g = g.to(self.dtype)
            sum_a, sum_g = self.sums = self.sums or self.zeros()
            self.add_inputs(sum_a, a)
            sum_g.addmm_(g.T, g)
        self.positions += len(g)
        if forward_pass not in self.passes:
            self.passes.add(forward_pass)
            self.examples += len(x) if x.dim() >= self.batched else 1

    def factors(self) -> tuple[Tensor, Tensor] | None:
        """A and G of all that was seen since the last step, on all devices; None if that is nothing."""
        examples: float = self.examples
        positions: float = self.positions
        ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        if ranks > 1:
            # Every rank's loss is a mean over its own examples, and gradients are averaged over ranks.
            sum_a, sum_g = self.sums or self.zeros()
            counts = sum_a.new_tensor([examples, positions])
            packed = torch.cat([sum_a.flatten(), sum_g.flatten() / ranks**2, counts])
            dist.all_reduce(packed)
            flat_a, flat_g, counts = packed.split([sum_a.numel(), sum_g.numel(), 2])
            self.sums = flat_a.view_as(sum_a), flat_g.view_as(sum_g)
            examples, positions = counts.tolist()
        if self.sums is None or not positions:
            return None
        return self.sums[0] / positions, self.sums[1] * examples

    def rows(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and gradients at the outputs as matrices, a row for each position of each example."""
        return x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1])

    def add_inputs(self, sum_a: Tensor, a: Tensor) -> None:
        """Add a a^T of every row, the 1 of the bias behind it."""
        a = a.to(self.dtype)
        a = a if self.bias is None else F.pad(a, (0, 1), value=1.0)
        sum_a.addmm_(a.T, a)

    def zeros(self) -> tuple[Tensor, Tensor]:
        """Empty sums of the shapes of A and G."""
        rows, columns = len(self.weight), self.weight[0].numel() + (self.bias is not None)
        make = self.weight.new_zeros
        return make(columns, columns, dtype=self.dtype), make(rows, rows, dtype=self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """float32 at least."""
        return torch.float32 if self.weight.dtype in SCALED else self.weight.dtype

    def matrix(self, w: Tensor, b: Tensor | None = None) -> Tensor:
        """A tensor like the weight, and one like the bias, as the matrix W'."""
        return w.flatten(1) if b is None else torch.cat([w.flatten(1), b[:, None]], 1)

    def split(self, matrix: Tensor) -> list[Tensor]:
        """The inverse of `matrix`: tensors like `parameters`."""
        w = matrix if self.bias is None else matrix[:, :-1]
        return [w.reshape(self.weight.shape), *([] if self.bias is None else [matrix[:, -1]])]


class FactoredConv2d(Factored):
    """nn.Conv2d: a is the patch of all channels under the kernel, and the pixels of the output are the positions."""

    batched = 4

    def rows(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Patches, and what belongs to their pixels."""
        conv, padding = self.layer, self.padding()
        if x.dim() < self.batched:
            x, g = x[None], g[None]
        if any(padding):
            x = F.pad(x, padding, mode="constant" if conv.padding_mode == "zeros" else conv.padding_mode)
        patches = F.unfold(x, conv.kernel_size, conv.dilation, stride=conv.stride)
        return patches.transpose(1, 2).flatten(0, 1), g.flatten(2).transpose(1, 2).flatten(0, 1)

    def padding(self) -> list[int]:
        """Pixels to add: left, right, above, below."""
        conv = self.layer
        if conv.padding == "valid":
            return [0, 0, 0, 0]
        if conv.padding == "same":
            down, along = (d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
            return [along // 2, along - along // 2, down // 2, down - down // 2]
        above, left = conv.padding
        return [left, left, above, above]


class FactoredEmbedding(Factored):
    """nn.Embedding: a is a token as a vector with a single 1, so that A is diagonal, the tokens' frequencies.

    Padding (`padding_idx`) is no position, and W' is the transposed table.
    """

    batched = 1

    def rows(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens, and what belongs to them."""
        x, g = x.flatten(), g.reshape(-1, g.shape[-1])
        if self.layer.padding_idx is None:
            return x, g
        kept = x != self.layer.padding_idx
        return x[kept], g[kept]

    def add_inputs(self, sum_a: Tensor, a: Tensor) -> None:
        """Count the tokens."""
        sum_a += a.bincount(minlength=len(sum_a))

    def zeros(self) -> tuple[Tensor, Tensor]:
        """Only the diagonal of A."""
        tokens, features = self.weight.shape
        make = self.weight.new_zeros
        return make(tokens, dtype=self.dtype), make(features, features, dtype=self.dtype)

    def matrix(self, w: Tensor, b: Tensor | None = None) -> Tensor:
        """Features as rows, tokens as columns."""
        return w.T

    def split(self, matrix: Tensor) -> list[Tensor]:
        """Back to tokens as rows."""
        return [matrix.T]


def factored(module: nn.Module, trained: Iterable[Tensor]) -> Iterator[Factored]:
    """The layers of a module that are factored, as far as their weights are among the trained parameters.

    All others are left out, and so are layers of which hooks would not see the whole truth: subclasses, which may
    compute something else (attention's `out_proj`), grouped convolutions, weights that several layers share, and
    embeddings with `max_norm`, `scale_grad_by_freq`.
    """
    trained = {p for p in trained if p.requires_grad}
    uses = Counter(p for layer in module.modules() for p in layer.parameters(recurse=False))
    for layer in module.modules():
        weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
        if weight not in trained or uses[weight] > 1:
            continue
        if bias not in trained or uses[bias] > 1:
            bias = None
        if type(layer) is nn.Linear:
            yield Factored(layer, bias)
        elif type(layer) is nn.Conv2d and layer.groups == 1:
            yield FactoredConv2d(layer, bias)
        elif type(layer) is nn.Embedding and layer.max_norm is None and not layer.scale_grad_by_freq:
            yield FactoredEmbedding(layer, None)


def damped_inverses(a: Tensor, g: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    """(A + pi sqrt(damping) I)^-1 and (G + sqrt(damping) / pi I)^-1; Martens and Grosse 2015, section 6.3.

    pi^2 is the mean eigenvalue of A over that of G, and 1 where one of them is 0.
    """
    pi = (mean_eigenvalue(a) / mean_eigenvalue(g)).sqrt()
    pi = torch.where((pi > 0) & pi.isfinite(), pi, 1.0)
    return damped_inverse(a, pi * damping**0.5), damped_inverse(g, damping**0.5 / pi)


def mean_eigenvalue(m: Tensor) -> Tensor:
    """Of a symmetric matrix, or of a diagonal one that is given as a vector."""
    return (m if m.dim() == 1 else m.diagonal()).mean()


def damped_inverse(m: Tensor, d: Tensor) -> Tensor:
    """(M + d I)^-1, by Cholesky; the pseudo-inverse where that finds no root, NaN where M is not finite."""
    if m.dim() == 1:
        return torch.where(m + d == 0, 0.0, 1 / (m + d))
    damped = m.clone()
    damped.diagonal().add_(d)
    root, failed = torch.linalg.cholesky_ex(damped)
    if not failed:
        return torch.cholesky_inverse(root)
    return torch.linalg.pinv(damped, hermitian=True) if damped.isfinite().all() else torch.full_like(m, torch.nan)


def times(matrix: Tensor, m: Tensor) -> Tensor:
    """A matrix times a square one, which is diagonal where it is a vector."""
    return matrix * m if m.dim() == 1 else matrix @ m
