"""What the ranks of a run decide together."""

import pytorch_lightning as pl
import torch


def agreed(trainer: pl.Trainer, *flags: bool) -> list[bool]:
    """Each flag, true if it is true on any rank: clocks and signals of ranks differ, and all must do the same."""
    if trainer.world_size == 1:
        return list(flags)
    votes = torch.tensor(flags, dtype=torch.float32, device=trainer.strategy.root_device)
    votes = torch.as_tensor(trainer.strategy.reduce(votes, reduce_op="sum"))
    return [vote > 0 for vote in votes.tolist()]
