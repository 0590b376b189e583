"""What kind of parameter each one is."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from steepest.routing import Kind

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
TABLES = ("embed", "embedding", "embeddings", "pos", "position", "positions", "token", "tokens")
"""Last words of the names of tables that models keep as parameters of their own: pos_embedding, class_token."""


def kinds(module: nn.Module) -> dict[str, Kind]:
    """The kind of each parameter, one for each, by its name in `named_parameters` (a tied weight counts once).

    embedding   tables of nn.Embedding, and tables called so that belong to no layer of torch (`TABLES`)
    norm        weights and biases of normalisation layers
    bias        other parameters called bias
    matrix      the rest of two and more dimensions: weights of linear, convolutional, recurrent, attention layers
    other       the rest: scales, gates, single numbers
    """
    found: dict[str, Kind] = {}
    owners = dict(module.named_modules(remove_duplicate=False))
    for name, parameter in module.named_parameters():
        path, _, last = name.rpartition(".")
        found[name] = kind(owners[path], last, parameter.ndim)
    return found


def kind(owner: nn.Module, name: str, ndim: int) -> Kind:
    """The kind of the parameter `name` of the layer `owner`."""
    if isinstance(owner, NORMS):
        return "norm"
    if isinstance(owner, EMBEDDINGS):
        return "embedding"
    of_torch = type(owner).__module__.startswith("torch.nn.")
    if not of_torch and ndim >= 2 and name.rpartition("_")[2] in TABLES:
        return "embedding"
    if "bias" in name:
        return "bias"
    return "matrix" if ndim >= 2 else "other"
