"""The verdict on a row: what forbids one, what the statistics say, and what the repeats of the search do."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any

import pandas as pd

from steepest.studies.decision import decide
from steepest.studies.ledger import COLUMNS, Ledger, as_line
from steepest.studies.plan import Planned, Side
from steepest.studies.study import Row, Scale
from steepest.studies.summary import summary_table
from steepest.studies.trials import NEAR

SMOKE = "scale=smoke only shows that the machinery runs"


def results_of(planned: Planned, ledger: Ledger) -> pd.DataFrame:
    """The results of a study, a line a run of a row: `ledger.COLUMNS`."""
    lines = [
        as_line(row, run, result)
        for row, sides in planned
        for side in sides
        for run in side.runs
        if (result := ledger.look(run))
    ]
    frame = pd.DataFrame(lines, columns=[*COLUMNS])
    return frame.astype({"value": float, "validation": float})


def obstacles(row: Row, sides: Sequence[Side], ledger: Ledger, scale: Scale) -> list[str]:
    """What forbids any verdict, in words."""
    found = []
    if scale == "smoke":
        found.append(SMOKE)
    if row.unreachable:
        found.append(f"the claim's condition is not reached at scale={scale}: {row.unreachable}")
    missing, failed = Counter[str](), Counter[str]()
    for side in sides:
        states = [ledger.look(run) for run in side.runs]
        missing[side.contender.name] += side.later + states.count(None)
        failed[side.contender.name] += sum(state is not None and state.status == "failed" for state in states)
    for counts, word in ((missing, "are missing"), (failed, "have failed")):
        said = [f"{count} of {name}" for name, count in counts.items() if count]
        if said:
            found.append(f"runs {word} ({', '.join(said)})")
    return found


def judge(row: Row, sides: Sequence[Side], results: pd.DataFrame, ledger: Ledger, scale: Scale) -> dict[str, Any]:
    """The verdict on a row and the figures beside it: a line of verdicts.csv.

    Where the search was repeated, each repeat is judged by itself, and they must agree.

    Args:
        row: the claim.
        sides: its contenders, in each repeat of the search.
        results: the row's part of `results_of`.
        ledger: knows what is done.
        scale: of the study.
    """
    in_the_way = obstacles(row, sides, ledger, scale)
    decisions = []
    for repeat in range(row.search.repeats):
        mine = {side.contender.name: side for side in sides if side.repeat == repeat}
        evaluated = results[(results.phase == "evaluate") & (results.search == repeat)]
        decisions.append(
            decide(
                evaluated[["contender", "seed", "value", "status"]],
                recommended=row.recommended,
                direction=row.direction,
                worst=row.worst,
                margin=row.margin,
                undertuned={name: edge_of(side) for name, side in mine.items() if side.edges},
                gains=gains(row, mine, evaluated),
                obstacles=in_the_way,
                contenders=mine,
            )
        )
    first = decisions[0]
    words = [one.kind for one in decisions]
    verdict, reason = first.kind, first.reason
    if len(set(words)) > 1:
        verdict, reason = "inconclusive", f"The repeats of the search disagree: {', '.join(words)}."
    return {
        "row": row.name,
        "scale": scale,
        "claim": row.claim,
        "condition": row.condition,
        "verdict": verdict,
        "reason": reason,
        "recommended": row.recommended,
        "metric": row.metric,
        "direction": row.direction,
        **figures(row, results[(results.phase == "evaluate") & (results.search == 0)]),
        "margin": row.margin,
        "worst": row.worst,
        "target": row.target,
        "seeds_needed": first.seeds_needed if verdict == "inconclusive" else None,
    }


def figures(row: Row, evaluated: pd.DataFrame) -> Mapping[str, Any]:
    """The recommended contender's mean and interval, and the best rival's mean."""
    table = table_of(row, evaluated)
    if row.recommended not in table.index:
        return dict.fromkeys(("value", "low", "high", "n", "best_rival", "rival_value"))
    own = table.loc[row.recommended]
    rivals = table.drop(index=row.recommended).dropna(subset="mean")  # NaN: all its runs have failed
    rival = (row.sign * rivals["mean"]).idxmax() if len(rivals) else None
    return {
        "value": own["mean"],
        "low": own["low"],
        "high": own["high"],
        "n": int(own["n"]),
        "best_rival": rival,
        "rival_value": None if rival is None else rivals.loc[rival, "mean"],
    }


def table_of(row: Row, evaluated: pd.DataFrame) -> pd.DataFrame:
    """Mean, interval and count of each contender, the best first."""
    if evaluated.empty:
        return pd.DataFrame(columns=["mean", "low", "high", "n", "diverged"])
    table = summary_table(evaluated, direction=row.direction, worst=row.worst)
    return table.sort_values("mean", ascending=row.direction == "min")


def gains(row: Row, mine: Mapping[str, Side], evaluated: pd.DataFrame) -> dict[str, float]:
    """What finer tuning could give each contender, in the metric's unit; none where another metric ranks trials."""
    if not comparable(row):
        return {}
    deviations = evaluated.groupby("contender").value.std()
    return {name: side.gain(NEAR * float(deviations.fillna(inf).get(name, inf))) for name, side in mine.items()}


def comparable(row: Row) -> bool:
    """Whether the selecting metric is the row's, of another split, so that a gain of the one is a gain of the other."""
    return row.metric.rpartition("/")[2] == row.select.rpartition("/")[2]


def edge_of(side: Side) -> str:
    """The edges that a contender's best lies on, in words."""
    return "its best " + " and ".join(
        f"{key} lies on the {end} edge of what was tried" for key, end in side.edges.items()
    )
