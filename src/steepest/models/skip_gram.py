"""Skip-gram word vectors."""

import torch
from torch import Tensor, nn

from steepest.models import checks


class SkipGram(nn.Module):
    """Two vectors for each word, as a centre and as a context. Mikolov et al. 2013b, arXiv:1310.4546, section 2.

        score(centre, context) = u_context . v_centre

    A batch with sparse gradients costs a step as much as it has words, however large the vocabulary is.

    Args:
        vocab_size: number of words, from the dataset.
        dim: length of a vector.
        sparse: gradients as sparse tensors, which element-wise optimizers take.

    Initial weights are those of the authors' program word2vec: v uniform in +-1 / (2 dim), u 0, so that every score
    begins at 0. Wrong values raise `ConfigError`.
    """

    def __init__(self, *, vocab_size: int, dim: int = 64, sparse: bool = True) -> None:
        super().__init__()
        checks.whole("vocab_size", vocab_size, 2)
        checks.whole("dim", dim)
        checks.flag("sparse", sparse)
        self.centers = nn.Embedding(vocab_size, dim, sparse=sparse)
        self.contexts = nn.Embedding(vocab_size, dim, sparse=sparse)
        nn.init.uniform_(self.centers.weight, -0.5 / dim, 0.5 / dim)
        nn.init.zeros_(self.contexts.weight)

    def forward(self, centers: Tensor, contexts: Tensor) -> Tensor:
        """Words int64 [B], and words int64 [B, K] that may stand near them, to scores [B, K]."""
        u, v = self.contexts(contexts), self.centers(centers)
        return torch.einsum("bkd,bd->bk", u, v)
