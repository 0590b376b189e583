"""Whether gradients vanish or explode on their way through a network. Nothing here imports torch."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

DEPTH = 1e3
"""First layers' gradient over last layers', or the inverse. A thousand is ten bits: more than bfloat16's eight, so that
one learning rate leaves some layers as they are, or throws others away."""
LARGE = 1e3
"""A gradient RMS this large: with losses of about 1 and weights of about 1, the loss would turn within 1/1,000."""
DEAD = 1e-6
"""A layer's gradient RMS, as a share of the median layer's, below which it does not take part."""


def gradient_remark(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """What is wrong with the gradients of the measured steps, in a sentence; None: nothing, or nothing was measured.

    They explode where one is not finite or above `LARGE`, or where the first layers' are `DEPTH` times the last
    layers' (`train/grad_depth`, the median over the measured steps); they vanish where it is the other way round, or
    where in most of the measured steps a layer's weights have less than `DEAD` of what the median layer has.
    Biases do not count there: that of an attention's keys has no gradient by its nature.

    Args:
        rows: of metrics.jsonl; null stands for a number that was not finite.
    """
    measured = [(row["opt_step"], found) for row in rows if (found := layers(row))]
    if not measured:
        return None
    for step, found in measured:
        for name, rms in found.items():
            if rms is None:
                return f"explode: that of {name} is not finite at step {step:,}"
            if rms > LARGE:
                return f"explode: the RMS of {name} is {rms:.3g} at step {step:,} (limit {LARGE:g})"
    ratios = [row["train/grad_depth"] for row in rows if row.get("train/grad_depth") is not None]
    if ratios and not 1 / DEPTH <= (ratio := median(ratios)) <= DEPTH:
        word = "vanish" if ratio < 1 else "explode"
        limits = f"limits 1/{DEPTH:g} and {DEPTH:g}"
        return f"{word}: the first layers have {ratio:.2g} times the RMS of the last ones ({limits})"
    dead = [{name for name, rms in found.items() if rms < DEAD * median(found.values())} for _, found in measured]
    weights = [name for name in measured[0][1] if not name.endswith("bias")]
    often = [name for name in weights if 2 * sum(name in names for names in dead) > len(dead)]
    if often:
        more = f" and {len(often) - 1} more" if len(often) > 1 else ""
        return f"vanish: {often[0]}{more} has less than {DEAD:g} of the median layer's RMS in most measured steps"
    return None


def layers(row: Mapping[str, Any]) -> dict[str, Any]:
    """The gradient RMS of each layer in a row."""
    return {
        key.split("/", 1)[1].rpartition("/")[0]: value
        for key, value in row.items()
        if key.startswith("layers/") and key.endswith("/grad_rms")
    }
