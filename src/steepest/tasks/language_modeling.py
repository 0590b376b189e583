"""Language modelling: the next token at every position."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.optim import Optimizer
from torchmetrics import MeanMetric

from steepest.batch import BatchPlan
from steepest.errors import ConfigError, shown
from steepest.optimizers.natural_gradient import kl_divergence
from steepest.schedules.schedule import Schedule
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.descent import Descent
from steepest.tasks.generation import generate, require_sampling
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape

Batch = tuple[Tensor, Tensor]
IGNORED = -100
"""A target that is none, as in torch's cross_entropy."""


class LanguageModeling(Descent, QuickHooks, pl.LightningModule):
    """Trains a model of the next token by cross-entropy; the headline is its loss on the validation split.

    A batch is (tokens, targets), both int64 [B, T]: windows of text, and what comes next at each position, or -100
    where that does not count. Every window is by itself: recurrent models begin each with a state of 0. `examples`
    counts windows.

    Published are the mean loss in nats, over all targets of a split with the same weight, its exponential the
    perplexity, and, where the data set says how long its texts are (`units`), the same by other units, which models
    of different tokens can be compared by: `bits_per_byte` = log2(e) loss tokens / bytes, and `word_perplexity` =
    exp(loss tokens / words).

    Args:
        model: maps tokens [B, T] to logits [B, T, vocab_size].
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: gives vocab_size, context_length and `units`, {} where the lengths are not known, and may give `encode`
            and `decode`.
        label_smoothing: share of the training target spread over all tokens (Szegedy et al. 2016, arXiv:1512.00567).
        sample_tokens: how many tokens the text has that the model writes at the end; 0: none.
        prompt: what that text begins with; null: what the test split begins with.
        temperature: divides the logits of the tokens to draw; 0 takes the likeliest.
        top_k: only so many of the likeliest tokens are drawn from; null: all.
        sample_seed: of what is drawn for that text.

    Raises:
        ConfigError: a value out of its range.
    """

    headline = ("val/loss", "min")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"dataset": ("vocab_size", "context_length", "units")}

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        label_smoothing: float = 0.0,
        sample_tokens: int = 256,
        prompt: str | None = None,
        temperature: float = 0.8,
        top_k: int | None = None,
        sample_seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ConfigError(
                f"task.label_smoothing={shown(label_smoothing)} is out of range; allowed is from 0 to below 1."
            )
        require_sampling(sample_tokens, temperature, top_k, sample_seed)
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.total_steps, self.plan, self.label_smoothing = total_steps, plan, label_smoothing
        self.vocab_size, self.data = data.vocab_size, data
        self.sample_tokens, self.prompt, self.sample_seed = sample_tokens, prompt, sample_seed
        self.temperature, self.top_k = temperature, top_k
        self.counters = Counters()
        self.sharded = False
        self.keeps_batch = False
        self.batch: Batch | None = None
        self.train_loss = RunningMean()
        self.eval_loss = MeanMetric()

    def loss(self, batch: Batch) -> Tensor:
        """The training loss of a batch: a scalar with its graph, the mean over its targets."""
        tokens, targets = batch
        return cross_entropy(self.model(tokens), targets, label_smoothing=self.label_smoothing)

    def loss_and_divergence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The training loss, and the mean KL divergence from the present predictions: scalars with their graph.

        The divergence is 0, and so is its gradient; its Hessian is the Fisher matrix, the mean over the tokens.
        """
        tokens, targets = batch
        logits = self.model(tokens)
        divergence = kl_divergence(logits[targets != IGNORED])
        return cross_entropy(logits, targets, label_smoothing=self.label_smoothing), divergence

    def rehearse(self, batch: Batch) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: it does not give a number for each window, position and token.
        """
        tokens, _ = batch
        allowed = (*tokens.shape, self.vocab_size)
        require_shape(outputs(self.model, tokens), allowed, "a number for each window, position and token")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the average."""
        self.evaluate(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Adds a batch to the average."""
        self.evaluate(batch)

    def evaluate(self, batch: Batch) -> None:
        """Adds a batch to the average of the loss, each target with the same weight."""
        tokens, targets = batch
        if not len(tokens):  # a rank beyond the last window goes through the model all the same: shards are exchanged
            self.model(tokens.new_zeros(1, *tokens.shape[1:]))
            return
        losses, counted = cross_entropy(self.model(tokens), targets, reduction="none"), targets != IGNORED
        self.eval_loss.update(losses, weight=counted.type_as(losses))

    def on_validation_epoch_end(self) -> None:
        """Publishes the averages of the validation split."""
        self.publish("val")

    def on_test_epoch_end(self) -> None:
        """Publishes the averages of the test split."""
        self.publish("test")

    def publish(self, split: str) -> None:
        """Logs the loss and what follows from it, over all devices; loggers get them from the recorder."""
        loss = float(self.eval_loss.compute())
        self.eval_loss.reset()
        found = {"loss": loss, "perplexity": exp(loss), **by_other_units(loss, self.data.units, split)}
        for name, value in found.items():
            self.log(f"{split}/{name}", value, logger=False)

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """For each window [B]: the mean loss of its targets, and how many they are."""
        tokens, targets = batch
        counted = (targets != IGNORED).sum(1)
        losses = cross_entropy(self.model(tokens), targets, reduction="none").sum(1)
        return {"loss": losses / counted.clamp(min=1), "targets": counted}

    def pictures(self) -> dict[str, str]:
        """A text that the model writes; nothing where the data set has no words for its tokens."""
        if not (self.sample_tokens and hasattr(self.data, "decode")):
            return {}
        return {"sample": self.data.decode(self.sampled().tolist())}

    def sampled(self) -> Tensor:
        """The tokens of that text with its prompt, int64 [P + sample_tokens]; always the same for the same weights."""
        if self.prompt is None:
            tokens, _ = next(iter(self.data.test_dataloader()))
            prompt = tokens[0, : min(16, tokens.shape[1])].tolist()
        else:
            prompt = list(self.data.encode(self.prompt)) or [0]
        generator = torch.Generator().manual_seed(self.sample_seed)
        return generate(
            self.model,
            torch.tensor(prompt, device=self.device),
            self.sample_tokens,
            self.data.context_length,
            generator,
            self.temperature,
            self.top_k,
        )

    def configure_model(self) -> None:
        """Shards the parameters where the strategy has a mesh of devices (FSDP2)."""
        if self.device_mesh is not None and not self.sharded:
            fully_shard(self.model, mesh=self.device_mesh["data_parallel"])
            self.sharded = True


def cross_entropy(logits: Tensor, targets: Tensor, *, label_smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """The cross-entropy of logits [B, T, V] against targets [B, T], of which those of -100 do not count.

    It is computed in float32 at least: the mean over the other targets or, with `reduction` none, each [B, T].
    """
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    losses = F.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction=reduction,
    )
    return losses if reduction == "mean" else losses.view(targets.shape)


def by_other_units(loss: float, units: dict[str, dict[str, int]], split: str) -> dict[str, float]:
    """The loss by bytes and by words, as far as the lengths of a split in `tokens`, `bytes` and `words` are known."""
    lengths = units.get(split, {})
    found = {}
    if "bytes" in lengths:
        found["bits_per_byte"] = loss / math.log(2) * lengths["tokens"] / lengths["bytes"]
    if "words" in lengths:
        found["word_perplexity"] = exp(loss * lengths["tokens"] / lengths["words"])
    return found


def exp(x: float) -> float:
    """e^x, or infinity where float32 ends."""
    return math.exp(x) if x < 88.0 else math.inf
