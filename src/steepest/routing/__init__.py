"""Which optimizer, learning rate and weight decay each parameter gets."""

from typing import Literal, get_args

Kind = Literal["matrix", "embedding", "norm", "bias", "other"]
"""What a parameter is; see `kinds.kinds`."""
KINDS: tuple[str, ...] = get_args(Kind)
