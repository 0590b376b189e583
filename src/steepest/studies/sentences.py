"""Why a row is decided as it is, in one plain sentence."""

import pandas as pd

from steepest.errors import listed
from steepest.studies.seeds_needed import MOST, SeedsNeeded
from steepest.studies.settle import CONFIRMED, REFUTED, Settled


def settled_in_words(found: Settled, recommended: str, comparisons: pd.DataFrame, margin: float) -> str:
    """Why a row is confirmed, refuted or on par."""
    row, many = comparisons.iloc[found.best], len(comparisons) > 1
    if found.kind == CONFIRMED:
        p = comparisons["p_better"].max()
        small = f"; that is not above the margin of {margin:.3g}" if row["difference"] <= margin else ""
        if many:
            said = f"{recommended} is better than all {len(comparisons)} rivals, than {row['rival']}, the best of them,"
        else:
            said = f"{recommended} is better than {row['rival']}"
        return f"{said} by {in_words(row)}, p={p:.2g}{small}."
    if found.kind == REFUTED:
        row = comparisons.loc[comparisons["p_worse_holm"].idxmin()].copy()
        row["difference"], row["low"], row["high"] = -row["difference"], -row["high"], -row["low"]
        said = f"{row['rival']} is better than {recommended} by {in_words(row)}"
        return f"{said}, which is above the margin of {margin:.3g}, p={row['p_worse_holm']:.2g}."
    said = f"The lead of {recommended} over {best_rival(row, many)} is {in_words(row)}"
    return f"{said}, which is within the margin of {margin:.3g}, p={row['p_equivalent']:.2g}."


def open_in_words(
    found: Settled, recommended: str, comparisons: pd.DataFrame, own: str, needed: SeedsNeeded | None, alpha: float
) -> str:
    """What an open row is missing, where all its runs are there.

    Args:
        found: the tests.
        recommended: the contender that the claim is about.
        comparisons: of `Decision`.
        own: why the recommended contender is undertuned; empty where it is not.
        needed: the seeds that would settle the row.
        alpha: of the tests.
    """
    guarded = comparisons[comparisons["undertuned"] != ""]
    rivals = [f"{rival} ({why})" for rival, why in zip(guarded["rival"], guarded["undertuned"], strict=True)]
    if rivals and (comparisons["p_better"] < alpha).all():
        return f"{recommended} is ahead of every rival at the settings found, but {undertuned_in_words(rivals)}."
    row = comparisons.iloc[found.best]
    said = f"The lead of {recommended} over {best_rival(row, len(comparisons) > 1)} is {in_words(row)}"
    if own:
        rivals.insert(0, f"{recommended} ({own})")
    if rivals:
        return f"{said}, which settles nothing, and {undertuned_in_words(rivals)}."
    if needed is None:
        return f"{said}, which settles nothing; nor would {MOST:,} seeds if means and deviations stayed so."
    return (
        f"{said}, which settles nothing; {needed.seeds} seeds would ({needed.kind}) if means and deviations stayed so."
    )


def best_rival(row: pd.Series, many: bool) -> str:
    """The best rival, named as such among several."""
    return f"{row['rival']}, the best rival," if many else str(row["rival"])


def in_words(row: pd.Series) -> str:
    """A difference with its interval: 0.012 (0.004 to 0.02, n=8)."""
    return f"{row['difference']:.3g} ({row['low']:.3g} to {row['high']:.3g}, n={row['n']})"


def undertuned_in_words(contenders: list[str]) -> str:
    """That contenders are undertuned."""
    return f"{listed(contenders)} {'is' if len(contenders) == 1 else 'are'} undertuned"
