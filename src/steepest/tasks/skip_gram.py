"""Skip-gram with negative sampling: vectors of words from the words around them."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from steepest.batch import BatchPlan
from steepest.schedules.schedule import Schedule
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.descent import Descent
from steepest.tasks.embeddings import ByRarity, require_clippable
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape

Batch = tuple[Tensor, Tensor, Tensor]


class NegativeSampling(Descent, QuickHooks, pl.LightningModule):
    """Tells the neighbours of a word from words drawn at random. Mikolov et al. 2013b, arXiv:1310.4546, equation 4.

        loss(w, c) = -log sigma(u_c . v_w) - sum_{k=1..K} log sigma(-u_{n_k} . v_w)

    The headline is that loss on the validation pairs, whose negatives are always the same. It is published for pairs
    with a rare word apart.

    Args:
        model: maps words int64 [B] and [B, K] to scores [B, K].
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: gives row_counts and words.
        clip: arguments of `clip_gradients`.
        rare: a pair is rare if one of its words occurs at most so often in the training part.
        neighbours: words shown beside each of the words in the picture `nearest_words`.

    Raises:
        ConfigError: a value that is out of range.
    """

    headline = ("val/loss", "min")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"model": ("centers",), "dataset": ("row_counts", "words")}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        clip: Mapping[str, Any],
        rare: int = 20,
        neighbours: int = 8,
    ) -> None:
        super().__init__()
        require_clippable(model, clip)
        self.model: Any = model
        self.optimizer, self.schedule = optimizer, schedule
        self.total_steps, self.plan = total_steps, plan
        self.words, self.neighbours = data.words, neighbours
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: Batch | None = None
        self.train_loss = RunningMean()
        self.eval_loss = MeanMetric()
        self.by_rarity = ByRarity(data.row_counts, rare)

    def scores(self, batch: Batch) -> Tensor:
        """Of the context, then of the negatives, [B, 1 + K]."""
        centers, contexts, negatives = batch
        return self.model(centers, torch.cat([contexts.unsqueeze(1), negatives], dim=1))

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: a scalar with its graph."""
        return pair_losses(self.scores(batch)).mean()

    def loss_and_divergence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, and the mean KL divergence from the present predictions: scalars with their graph."""
        scores = self.scores(batch)
        now = scores.detach()
        chance, (count, _) = now.sigmoid(), now.shape
        divergence = F.binary_cross_entropy_with_logits(scores, chance, reduction="sum")
        entropy = F.binary_cross_entropy_with_logits(now, chance, reduction="sum")
        return pair_losses(scores).mean(), (divergence - entropy) / count

    def rehearse(self, batch: Batch) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: it does not give a score for each pair of words.
        """
        centers, _, negatives = batch
        require_shape(outputs(self.model, centers, negatives), negatives.shape, "a score for each pair of words")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages."""
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the averages."""
        self.evaluate(batch)

    def evaluate(self, batch: Batch) -> None:
        """Adds a batch to the averages, each pair with the same weight."""
        centers, contexts, _ = batch
        if not len(centers):  # a rank beyond the last example
            return
        scores = self.scores(batch)
        losses = pair_losses(scores.float() if scores.dtype == torch.bfloat16 else scores)
        self.eval_loss.update(losses.mean(), weight=len(centers))
        self.by_rarity.update(torch.stack([centers, contexts], dim=1), losses)

    def on_validation_epoch_end(self) -> None:
        """Publishes the averages of the validation split."""
        self.publish("val")

    def on_test_epoch_end(self) -> None:
        """Publishes the averages of the test split."""
        self.publish("test")

    def publish(self, split: str) -> None:
        """Logs the loss, that of rare and frequent words, and how many pairs those are."""
        self.log(f"{split}/loss", self.eval_loss.compute(), logger=False)
        for name, (mean, number) in self.by_rarity.take().items():
            self.log(f"{split}/loss_{name}", mean, logger=False)
            self.log(f"{split}/examples_{name}", number, logger=False)
        self.eval_loss.reset()

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """For each pair: the two words, and the probability that they are neighbours and not drawn at random."""
        centers, contexts, _ = batch
        probability = self.model(centers, contexts.unsqueeze(1)).squeeze(1).float().sigmoid()
        return {"center": centers, "context": contexts, "probability": probability}

    def nearest(self, words: Tensor, count: int) -> Tensor:
        """The words whose vectors point most nearly the same way, best first: numbers [W] to numbers [W, count]."""
        vectors = F.normalize(self.model.centers.weight.detach().float(), dim=1)
        cosines = vectors[words] @ vectors.T
        cosines.scatter_(1, words.unsqueeze(1), -torch.inf)
        return cosines.topk(min(count, len(self.words) - 1)).indices

    def pictures(self) -> dict[str, str]:
        """Words from frequent to rare, each with those nearest to it."""
        numbers = sorted({round(len(self.words) ** (step / 29)) - 1 for step in range(30)})
        nearest = self.nearest(torch.tensor(numbers, device=self.device), self.neighbours).tolist()
        width = max(len(self.words[number]) for number in numbers)
        lines = [
            f"{self.words[number]:<{width}}  {', '.join(self.words[near] for near in found)}"
            for number, found in zip(numbers, nearest, strict=True)
        ]
        return {"nearest_words": "\n".join(lines) + "\n"}


def pair_losses(scores: Tensor) -> Tensor:
    """The loss of each pair [B] from the scores of its context and its negatives, [B, 1 + K]."""
    return F.softplus(-scores[:, 0]) + F.softplus(scores[:, 1:]).sum(1)
