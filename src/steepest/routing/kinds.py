"""What kind of parameter each one is."""

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from steepest.routing import Kind

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)


def kinds(module: nn.Module) -> dict[str, Kind]:
    """The kind of each parameter, one for each, by its name in `named_parameters` (a tied weight counts once).

    embedding   tables of nn.Embedding, and parameters called so that hang on no layer of torch: positions, tokens
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
    if not type(owner).__module__.startswith("torch.nn.") and any(word in name for word in ("embed", "pos", "token")):
        return "embedding"
    if "bias" in name:
        return "bias"
    return "matrix" if ndim >= 2 else "other"
