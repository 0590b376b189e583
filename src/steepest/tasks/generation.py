"""Texts that a language model writes."""

import math

import torch
from torch import Tensor, nn

from steepest.errors import ConfigError, shown


@torch.no_grad()
def generate(
    model: nn.Module,
    prompt: Tensor,
    count: int,
    context_length: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> Tensor:
    """Go on with a text, token by token, each drawn from softmax(logits / temperature).

    The model is left as it was, and no random number but those of `generator` is used.

    Args:
        model: maps tokens, int64 [1, T], to logits [1, T, vocab_size]; it sees the last `context_length` tokens.
        prompt: the text's beginning, int64 [P], P from 1.
        count: tokens to add.
        context_length: see above.
        generator: on the CPU, where the drawing is done, so that it is the same on every device.
        temperature: 0 takes the likeliest.
        top_k: draw from so many of the likeliest only; None: from all. Holtzman et al. 2020 compare such rules.

    Returns:
        int64 [P + count].
    """
    training = model.training
    model.eval()
    try:
        text = prompt
        for _ in range(count):
            logits = model(text[None, -context_length:])[0, -1].double().cpu()
            text = torch.cat([text, draw(logits, generator, temperature, top_k).to(text.device)])
    finally:
        model.train(training)
    return text


def draw(logits: Tensor, generator: torch.Generator, temperature: float, top_k: int | None) -> Tensor:
    """One token, int64 [1], of logits [V]."""
    if temperature == 0:
        return logits.argmax()[None]
    if top_k is not None and top_k < len(logits):
        logits = logits.masked_fill(logits < logits.topk(top_k).values[-1], -math.inf)
    return torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)


def require_sampling(tokens: int, temperature: float, top_k: int | None, seed: int) -> None:
    """Raise ConfigError for values of a task that no text can be drawn by."""
    whole = {"sample_tokens": (tokens, 0), "sample_seed": (seed, 0)} | ({} if top_k is None else {"top_k": (top_k, 1)})
    for key, (value, least) in whole.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"task.{key}={shown(value)} is not possible; allowed is a whole number from {least}.")
    if isinstance(temperature, bool) or not 0.0 <= temperature < math.inf:
        raise ConfigError(f"task.temperature={shown(temperature)} is not possible; allowed is a number of 0 or more.")
