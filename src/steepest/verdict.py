"""What became of a run, in a word and with the reason. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steepest.trend import Curve, curve, in_training
from steepest.vanishing import gradient_remark

Rows = Sequence[Mapping[str, Any]]
Verdict = dict[str, str]

ENOUGH = 4
"""Points that a curve needs to be judged."""
BLOWN = 1.5
"""Diverged: the training loss ends above so many times the loss at the start."""
LOST = 0.5
"""Diverged, too: so much of what was gained is lost again in training, or where the headline alone counts."""
NOTHING, LITTLE = 1e-3, 0.1
"""Stalled: rows gain less than the first share of the loss at the start, or than their noise; and less than the second
from the very first batch, whose loss is noisier than a row's."""
CERTAIN = 4.0
"""Standard errors from which on a difference is no noise; of the first loss, standard deviations of a row."""
RISE = 0.1
"""Overfitting: validation has lost so much of what it had gained, while training went on."""
GAP = 1 / 3
"""Overfitting, too: so much of what training gained is not found in validation."""
LATE, LATE_HOT = 0.15, 0.05
"""Undertrained: at the pace of the end a quarter of the run more would bring so much of all that was gained; the second
where the learning rate is not low yet: a loss also falls because that does."""
MIDDLE = 0.15
"""Undertrained, too: the loss fell so much of that in a quarter of the run at the pace of its middle, 0.25 being a
straight line: it was still on its way when the learning rate was lowered."""
HOT = 0.1
"""Share of its highest value from which on a learning rate is not low."""


def verdict(rows: Rows, headline: str, direction: str, status: str) -> Verdict:
    """The first of these that holds: diverged, stalled, overfitting, undertrained; else healthy.

    The loss is judged where validation has one, `val/loss`; it is compared with the training loss, and both with the
    loss of the first batch (`train/initial_loss`, or else the first row's). Elsewhere, as with adversaries and agents,
    losses mean little: there the headline alone is judged, from its first value in training (`train/...` of the same
    name or one that ends in it, if there is one), and overfitting is none of the words.

    Medians of neighbours and Theil-Sen slopes stand for single values, and no word is given for a difference that the
    curve's own noise explains. The thresholds are the constants above; all are shares of what the run itself gained.

    Args:
        rows: of metrics.jsonl; null stands for a number that was not finite.
        headline: the name of the one metric, such as val/accuracy.
        direction: max or min.
        status: how the run ended: finished or diverged.

    Returns:
        `word` and `reason`; and `gradients`, where they vanish or explode.
    """
    remark = gradient_remark(rows)
    return judged(rows, headline, direction, status) | ({"gradients": remark} if remark else {})


def judged(rows: Rows, headline: str, direction: str, status: str) -> Verdict:
    """The word, and the reason for it."""
    if status == "diverged" or (gone := not_finite(rows, headline)):
        where = f"{gone} is no longer a finite number" if status != "diverged" else reason_of_divergence(rows)
        return said("diverged", where)
    sign = -1.0 if direction == "max" else 1.0
    scored = Score(headline, curve(rows, headline, sign), sign)
    if any(row.get("val/loss") is not None for row in rows):
        return of_losses(rows, scored)
    return of_headline(rows, scored)


class Score:
    """The headline as a curve of which less is better, and in its own words."""

    def __init__(self, name: str, values: Curve, sign: float) -> None:
        self.name, self.curve, self.sign = name, values, sign

    def words(self, value: float) -> str:
        """A value of the curve as the metric has it."""
        return f"{self.sign * value:.4g}"


def of_losses(rows: Rows, score: Score) -> Verdict:
    """The verdict on a run with a training and a validation loss."""
    train, val = curve(rows, "train/loss"), curve(rows, "val/loss")
    first = curve(rows, "train/initial_loss")
    start = float((first if len(first) else train if len(train) else val).values[0])
    if max(len(train), len(val)) < ENOUGH:
        return too_short(val, start, "val/loss")
    train = train if len(train) else val
    fell = f"training loss {start:.4g} at the start, {train.end:.4g} at the end"
    if start > 0 and train.end > BLOWN * start:
        return said("diverged", fell)
    gained = start - train.best
    something = gained > max(LITTLE * abs(start), CERTAIN * train.noise)
    if something and train.end - train.best > max(LOST * gained, CERTAIN * train.error):
        best = f"{train.best:.4g} at step {train.best_step:,}"
        return said(
            "diverged", f"training loss {start:.4g} at the start, at its best {best}, {train.end:.4g} at the end"
        )
    if is_flat(train, start):
        return said("stalled", f"{fell}: no more than its noise")
    return overfitting(train, val, start, score) or undertrained(rows, train, val, start) or said(
        "healthy", f"{fell}; {best_and_last(score)}"
    )  # fmt: skip


def of_headline(rows: Rows, score: Score) -> Verdict:
    """The verdict on a run whose losses mean little."""
    values = score.curve
    training = curve(rows, in_training(rows, score.name) or "", score.sign)
    if len(values) < ENOUGH:
        return too_short(values, values.values[0] if len(values) else math.nan, score.name, score.sign)
    start = float((training if len(training) else values).values[0])
    gained = max(start, float(values.values[0])) - values.best
    lost = values.end - values.best
    way = f"{score.name} {score.words(start)} at the start, {score.words(values.end)} at the end"
    if lost > max(LOST * gained, CERTAIN * values.error, NOTHING * abs(start)):
        return said("diverged", f"{way}, at its best {score.words(values.best)} at step {values.best_step:,}")
    if is_flat(values, start):
        return said("stalled", f"{way}: no more than its noise")
    if found := unfinished(rows, values, start - values.end):
        return said("undertrained", f"{way}: {found[2]}")
    return said("healthy", f"{way}; {best_and_last(score)}")


def overfitting(train: Curve, val: Curve, start: float, score: Score) -> Verdict | None:
    """Whether validation got worse while training went on, or never got what training did."""
    if len(val) < 3:
        return None
    gained, rise, best_step = start - val.best, val.end - val.best, val.best_step
    went_on = train.end <= train.at(best_step) + RISE * max(gained, 0.0)
    better = score.curve.at(best_step) - score.curve.end if len(score.curve) else 0.0
    headline_better = better > max(CERTAIN * score.curve.error, 0.02 * abs(score.curve.end)) if better > 0 else False
    certain = rise > max(RISE * abs(gained), CERTAIN * val.error)
    if certain and went_on and not headline_better:
        return said(
            "overfitting",
            f"validation loss {val.best:.4g} at step {best_step:,}, {val.end:.4g} at the end, while training loss went "
            f"from {train.at(best_step):.4g} to {train.end:.4g}; {best_and_last(score)}",
        )
    learnt, gap = start - train.end, val.end - train.end
    falling = val.late_gain() > LATE_HOT * max(gained, 0.0)
    if learnt > LITTLE * abs(start) and gap > GAP * learnt + CERTAIN * train.error and not falling:
        return said(
            "overfitting",
            f"training loss {start:.4g} at the start, {train.end:.4g} at the end, but validation loss {val.end:.4g}: "
            f"{gap / learnt:.0%} of what was learnt is not found there",
        )
    return None


def undertrained(rows: Rows, train: Curve, val: Curve, start: float) -> Verdict | None:
    """Whether the losses were still falling as if more steps would bring much.

    Of the one with more values this must be certain; the other must not speak against it.
    """
    main, other = sorted((train, val), key=len, reverse=True)
    found = unfinished(rows, main, start - main.end)
    if found is None:
        return None
    limit, share, words = found
    if len(other) >= ENOUGH:
        gained = max(start - other.end, 1e-300)
        if max(other.late_gain(certain=False), other.middle_gain() if share is None else 0.0) < limit / 2 * gained:
            return None
    return said("undertrained", f"training loss {start:.4g} at the start, {train.end:.4g} at the end: {words}")


def unfinished(rows: Rows, values: Curve, gained: float) -> tuple[float, float | None, str] | None:
    """Whether a curve was still falling: the limit, the share that more steps would bring, and words for it.

    The share is None where the curve was still falling only as long as the learning rate was high.
    """
    hot = is_hot(rows)
    limit, whole = LATE_HOT if hot else LATE, max(gained, 1e-300)
    share = values.late_gain() / whole
    if share > limit:
        words = f"at the pace of its end a quarter of the run more would bring {share:.0%} of all it gained"
        high = ", and the learning rate is not low yet" if hot else ""
        return limit, share, f"{words} (limit {limit:.0%}{high})"
    share = values.middle_gain() / whole
    if share > MIDDLE and not hot:
        words = (
            f"in its middle a quarter of the run brought {share:.0%} of all it gained, and then the learning rate fell"
        )
        return MIDDLE, None, f"{words} (limit {MIDDLE:.0%}; a straight line has 25%)"
    return None


def is_flat(values: Curve, start: float) -> bool:
    """Whether a curve has gained nothing that is more than its noise."""
    early, late, error = values.fifths()
    nothing = max(NOTHING * abs(start), CERTAIN * error)
    return early - late <= nothing and start - late <= max(LITTLE * abs(start), CERTAIN * values.noise)


def is_hot(rows: Rows) -> bool:
    """Whether the learning rate is not low at the end."""
    rates = curve(rows, "lr", -1.0)
    return bool(len(rates)) and -rates.values[-1] > HOT * -rates.values.min()


def best_and_last(score: Score) -> str:
    """The headline's best and last value."""
    values = score.curve
    if not len(values):
        return f"{score.name} was never found"
    at = int(values.values.argmin())
    last = score.words(float(values.values[-1]))
    return f"{score.name} {last}, at its best {score.words(float(values.values[at]))} at step {int(values.steps[at]):,}"


def too_short(values: Curve, start: float, name: str, sign: float = 1.0) -> Verdict:
    """The verdict on a run with fewer points than can be judged."""
    last = f", {name} {sign * start:.4g} to {sign * float(values.values[-1]):.4g}" if len(values) else ""
    return said("undertrained", f"too short to judge ({len(values)} of the {ENOUGH} validations that takes){last}")


def not_finite(rows: Rows, headline: str) -> str | None:
    """The first loss, or headline, whose last value is not finite."""
    for key in ("train/loss", "val/loss", headline):
        found = [row[key] for row in rows if key in row]
        if found and (found[-1] is None or not math.isfinite(found[-1])):
            return key
    return None


def reason_of_divergence(rows: Rows) -> str:
    """Where a run stopped that diverged, and what its last finite loss was."""
    losses = curve(rows, "train/loss")
    last = f"; the last finite training loss is {losses.values[-1]:.4g}" if len(losses) else ""
    step = max((row["opt_step"] for row in rows), default=0)
    return f"the loss is no longer a finite number at step {step:,}{last}"


def said(word: str, reason: str) -> Verdict:
    """A verdict."""
    return {"word": word, "reason": reason}
