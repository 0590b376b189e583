"""How each layer's weights, gradient and update compare."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from steepest.callbacks.moves import Kept, at_least_float
from steepest.callbacks.norms import squared_norm

Sums = tuple[float, float, float, float]
"""Of a tensor: gradient squared, weights squared before the step, update squared, update times gradient."""


def layer_values(kept: Mapping[nn.Parameter, Kept], names: Mapping[nn.Parameter, str]) -> dict[str, float]:
    """What a step did to each parameter tensor that has a gradient, and to all of them.

    `layers/<name>/grad_rms`, `weight_rms` (before the step) and `update_rms` are root mean squares over the entries;
    `update_ratio` is the third over the second, `cosine` the cosine of the update and the negative gradient: 1 for
    plain gradient descent. What would be divided by zero is left out. `train/update_cosine` is that of all tensors
    together, `train/grad_depth` see `depth_ratio`.

    Args:
        kept: with gradients, of a step that is done.
        names: of all parameters, in the order of the layers.
    """
    order = {parameter: number for number, parameter in enumerate(names)}
    measured = sorted((p for p, k in kept.items() if k.gradient is not None and p in order), key=order.__getitem__)
    found: dict[str, float] = {}
    rms: dict[int, list[float]] = {}
    sums = all_sums([(p, kept[p]) for p in measured])
    for p, (g2, x2, u2, ug) in zip(measured, sums, strict=True):
        place, count = f"layers/{names[p]}", max(p.numel(), 1)
        found[f"{place}/grad_rms"] = math.sqrt(g2 / count)
        found[f"{place}/weight_rms"] = math.sqrt(x2 / count)
        found[f"{place}/update_rms"] = math.sqrt(u2 / count)
        if x2 > 0:
            found[f"{place}/update_ratio"] = math.sqrt(u2 / x2)
        if (cosine := descent(ug, u2, g2)) is not None:
            found[f"{place}/cosine"] = cosine
        if p.ndim >= 2:
            rms.setdefault(kept[p].turn, []).append(math.sqrt(g2 / count))
    whole = [sum(column) for column in zip(*sums, strict=True)]
    if whole and (cosine := descent(whole[3], whole[2], whole[0])) is not None:
        found["train/update_cosine"] = cosine
    ratios = [ratio for values in rms.values() if (ratio := depth_ratio(values)) is not None]
    if ratios:
        found["train/grad_depth"] = max(ratios, key=lambda ratio: abs(math.log(ratio)) if ratio > 0 else math.inf)
    return found


def descent(ug: float, u2: float, g2: float) -> float | None:
    """The cosine of update and negative gradient; None where one of them is zero."""
    length = math.sqrt(u2) * math.sqrt(g2)
    return max(-1.0, min(1.0, -ug / length)) if length > 0 else None


def depth_ratio(rms: Sequence[float]) -> float | None:
    """Gradient RMS of the first third of the matrices over that of the last third; None for fewer than three.

    Geometric means, since a gradient is multiplied layer by layer. A network that keeps it as it goes back has about 1.
    """
    k = len(rms) // 3
    if not k or not all(map(math.isfinite, rms)) or min(rms[-k:]) == 0:
        return None
    if min(rms[:k]) == 0:
        return 0.0
    return math.exp(sum(map(math.log, rms[:k])) / k - sum(map(math.log, rms[-k:])) / k)


@torch.no_grad()
def all_sums(pairs: Sequence[tuple[nn.Parameter, Kept]]) -> list[Sums]:
    """The sums of every tensor, over all devices that have a shard of it; one transfer from the device."""
    if not pairs:
        return []
    scalars = torch.stack([together(sums_of(p, kept)) for p, kept in pairs])
    return [tuple(row) for row in scalars.double().tolist()]


def sums_of(p: nn.Parameter, kept: Kept) -> list[Tensor]:
    """The sums of one tensor, each a scalar in float32 or better."""
    g, u = kept.gradient, kept.update(p)
    assert g is not None
    x2 = squared_norm(kept.before)
    if kept.rows is not None:  # and all other rows, which stand as they stood
        now = p.detach()
        x2 = x2 + (squared_norm(now) - squared_norm(now[kept.rows])).clamp(min=0)
    u2 = squared_norm(u)
    if g.is_sparse:
        touched = u if kept.rows is not None else u[g.indices()[0]] if g.sparse_dim() == 1 else u[tuple(g.indices())]
        ug = (touched * at_least_float(g.values())).sum()
    else:
        ug = (u * at_least_float(g)).sum()
    return [squared_norm(g), x2, u2, ug]


def together(sums: list[Tensor]) -> Tensor:
    """Scalars as one tensor; of a sharded parameter, summed over its devices."""
    if not isinstance(sums[0], DTensor):
        return torch.stack(sums)
    own = torch.stack([part.to_local() for part in sums if isinstance(part, DTensor)])
    return DTensor.from_local(own, sums[0].device_mesh, sums[0].placements).full_tensor()
