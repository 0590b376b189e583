"""How often the protocol errs, by simulating search and evaluation; and whether the calculator of seeds is right."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from steepest.studies import simulation
from steepest.studies.decision import decide
from steepest.studies.seeds_needed import seeds_needed
from steepest.studies.simulation import DEPTHS, FIELDS, SHAPES, Case, Outcome, rates, row, settled

REPEATS = 1000
ABOVE = {
    ("skew", DEPTHS["very sharp"]): 0.11,
    ("cliff", DEPTHS["flat"]): 0.065,
    ("cliff", DEPTHS["medium"]): 0.065,
}
"""Where false verdicts against the best possible settings are known to come above 5 %, as the module says."""
FALSE = [f"false {kind}{where}" for kind in ("confirmed", "refuted", "on par") for where in ("", " at best")]


def at_most(share, level=0.05):
    """Whether so many false verdicts may come of a true rate of 5 %: a rate of 8 % is found out almost surely."""
    return share * REPEATS <= stats.binom.isf(0.001, REPEATS, level)


def test_the_bound_decides():
    assert at_most(0.05)
    assert not at_most(0.075)
    assert stats.binom.sf(stats.binom.isf(0.001, REPEATS, 0.05), REPEATS, 0.09) > 0.95


@pytest.mark.parametrize("depth", [DEPTHS["flat"], DEPTHS["sharp"]], ids=["flat", "sharp"])
@pytest.mark.parametrize("field", FIELDS)
def test_false_verdicts_stay_at_5_percent_even_against_the_best_possible_settings(field, depth):
    found = rates(Case(FIELDS[field], depth=depth), REPEATS)
    for name in FALSE:
        assert at_most(found[name]), (name, found[name])


@pytest.mark.parametrize("depth", [DEPTHS["flat"], DEPTHS["sharp"]], ids=["flat", "sharp"])
def test_false_verdicts_stay_near_5_percent_where_optima_lie_beyond_the_space(depth):
    for field in ("2, equal", "2, worse by the margin"):
        found = rates(Case(FIELDS[field], depth=depth, within=(-1.0, 2.0)), REPEATS)
        for name in FALSE:
            assert at_most(found[name]), (field, name, found[name])


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["parabola", "levels off", "skew", "cliff"])
@pytest.mark.parametrize("depth", DEPTHS.values(), ids=[*DEPTHS])
def test_false_verdicts_stay_low_whatever_the_response(shape, depth):
    for field, optima in FIELDS.items():
        found = rates(Case(optima, shape, depth), REPEATS)
        for name in FALSE:
            level = ABOVE.get((shape, depth), 0.05) if name.endswith("best") else 0.05
            assert at_most(found[name], level), (field, name, found[name])


def test_without_the_guard_sharp_optima_are_confirmed_for_luck():
    optima, depth = FIELDS["2, equal"], DEPTHS["very sharp"]
    open_door = rates(Case(optima, depth=depth, guarded=False), 300)
    assert open_door["false confirmed at best"] > 0.12
    assert rates(Case(optima, depth=depth), 300)["false confirmed at best"] < 0.05


@pytest.mark.parametrize(
    ("case", "kind", "least"),
    [
        (Case((4.0, 0.0)), "confirmed", 0.95),
        (Case((4.0, *[0.0] * 6), depth=DEPTHS["sharp"]), "confirmed", 0.85),
        (Case((-5.0, 0.0), depth=DEPTHS["sharp"]), "refuted", 0.95),
        (Case((0.0, 0.0), depth=DEPTHS["flat"], margin=4.0), "on par", 0.9),
    ],
)
def test_true_verdicts_are_found(case, kind, least):
    assert rates(case, 300)[kind] > least


@pytest.mark.parametrize(
    ("mean", "spread", "margin", "kind"),
    [
        ([0.5], [1.0], 0.01, "confirmed"),
        ([1.5], [1.0], 0.01, "confirmed"),
        ([0.8, 3.0, 4.0], [1.0, 1.0, 2.0], 0.01, "confirmed"),
        ([0.7, 0.7, 0.7], [1.0, 1.0, 1.0], 0.01, "confirmed"),
        ([-1.0], [1.0], 0.3, "refuted"),
        ([-1.0, 2.0, 3.0], [1.0, 1.0, 1.0], 0.3, "refuted"),
        ([0.1], [1.0], 0.8, "on par"),
    ],
)
def test_the_seeds_that_are_said_to_settle_a_row_do_so_four_times_of_five(mean, spread, margin, kind):
    shape = stats.norm.ppf((np.arange(8) + 0.5) / 8)
    shape = (shape - shape.mean()) / shape.std(ddof=1)
    seen = {str(i): m + s * shape for i, (m, s) in enumerate(zip(mean, spread, strict=True))}
    seeds, said = seeds_needed(seen, margin)
    assert said == kind
    assert 0.77 < settled(mean, spread, seeds, 2000, margin)[kind] < 0.88  # few seeds make large steps
    assert settled(mean, spread, seeds - 1, 2000, margin)[kind] < 0.83


def test_the_simulation_judges_as_studies_do():
    """`verdict` takes arrays for speed; `decide` says the same of the same numbers in a table."""
    draw = np.random.default_rng(0)
    kinds = set()
    for _ in range(60):
        scores = draw.normal(size=(3, 8)) * 0.5 + draw.normal(size=(3, 1)) * 1.5
        gains, on_edge = np.abs(draw.normal(size=3)) * draw.integers(0, 2), draw.uniform(size=3) < 0.1
        expected = simulation.verdict(scores[0] - scores[1:], gains, on_edge)
        runs = [("abc"[i], seed, scores[i, seed], "finished") for i in range(3) for seed in range(8)]
        found = decide(
            pd.DataFrame(runs, columns=["contender", "seed", "value", "status"]),
            recommended="a",
            direction="max",
            worst=-100.0,
            margin=simulation.MARGIN,
            undertuned={name: "edge" for name, there in zip("abc", on_edge, strict=True) if there},
            gains=dict(zip("abc", gains, strict=True)),
            obstacles=[],
        )
        assert found.kind == expected
        kinds.add(expected)
    assert len(kinds) >= 3


def test_a_simulated_row_is_what_its_case_says():
    one = row(Case((0.0, -100.0)), np.random.default_rng(0))
    assert isinstance(one, Outcome)
    assert one.kind == "confirmed"
    assert one.found[0] <= 0.0
    assert one.found[1] <= -100.0
    assert rates(Case((0.0, 0.0)), 20, seed=3) == rates(Case((0.0, 0.0)), 20, seed=3)
    for response in SHAPES.values():
        assert response(0.0, 4.0) == 0.0
        assert response(1.0, 4.0) < -1.0
        assert response(-1.0, 4.0) < -1.0


def test_the_command_prints_the_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["simulation", "--repeats", "2", "--shapes", "kink"])
    simulation.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(DEPTHS) * (len(FIELDS) + len(simulation.TRUE) + 1)
    assert lines[0].split()[:4] == ["shape", "optimum", "contenders", "confirmed"]
