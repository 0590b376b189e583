"""Which settings a search tries: first points, the reserve, edges, the best, and what finer tuning could gain."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.errors import ConfigError
from steepest.search import Dimension
from steepest.studies.trials import STRIDE, Tried, best, edges, first_points, gain_of_tuning, reserve_point

NAN, INF = math.nan, math.inf
LR = Dimension("lr", "here", low=1e-4, high=1e-1, scale="log")
BETA = Dimension("betas[1]", "here", low=0.9, high=0.999, scale="log_one_minus")
DROP = Dimension("drop", "here", low=0.0, high=0.5)
KEPT = Dimension("lr", "here", low=1e-4, high=1e-1, scale="log", widen=False)
MODE = Dimension("mode", "here", choices=("a", "b", None))


def grid(*scores, first=5):
    return [Tried((i / (first - 1),), score) for i, score in enumerate(scores)]


def of_grid(tried, dimension=LR, first=5):
    return reserve_point(tried, [dimension], "grid", first)


def test_a_grid_is_even_and_has_both_ends():
    assert first_points("grid", [LR], 5) == [(0.0,), (0.25,), (0.5,), (0.75,), (1.0,)]
    assert first_points("grid", [LR], 2) == [(0.0,), (1.0,)]
    assert first_points("grid", [LR], 1) == [(0.5,)]


def test_contenders_share_one_sequence():
    one, two = first_points("sobol", [LR], 8), first_points("sobol", [BETA, LR], 8)
    many = first_points("sobol", [LR, BETA, *[DROP] * 20], 8)
    assert [point[:1] for point in two] == one
    assert [point[:2] for point in many] == two
    assert first_points("sobol", [LR], 3) == one[:3]
    assert first_points("sobol", [LR, BETA], 8) == two  # whatever was asked before


def test_the_sequence_is_low_in_discrepancy():
    points = first_points("sobol", [LR, BETA], 16)
    for i in range(2):
        assert sorted(int(16 * point[i]) for point in points) == list(range(16))  # one in each sixteenth


def test_equal_choices_are_equal_points_and_come_once():
    points = first_points("sobol", [MODE], 8)
    assert sorted(points) == [(pytest.approx(share),) for share in (1 / 6, 1 / 2, 5 / 6)]  # no more than there are
    both = first_points("sobol", [MODE, LR], 8)
    assert {round(6 * point[0]) for point in both} == {1, 3, 5}
    assert len(set(both)) == 8
    assert first_points("sobol", [], 5) == [()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grid", [LR, BETA], 5), "sampler=grid is not possible with lr, betas[1]; allowed is one range (keys=[lr])"),
        (("grid", [MODE], 5), "sampler=grid is not possible with mode; allowed"),
        (("grid", [], 5), "sampler=grid is not possible with no dimension; allowed"),
        (("gird", [LR], 5), "sampler=gird is unknown; allowed are grid and sobol."),
        (("grid", [LR], 0), "trials=0 is not possible; allowed are 1 or more."),
        (("sobol", [LR] * 33, 2), "sampler=sobol has no 33 dimensions; allowed are up to 32."),
    ],
)
def test_what_no_sampler_can_do_is_one_sentence(arguments, said):
    with pytest.raises(ConfigError) as caught:
        first_points(*arguments)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_the_best_has_the_best_score():
    assert best(grid(1, 2, 5, 3, 0)).point == (0.5,)
    assert best(grid(-INF, NAN, -3, INF, -7)).point == (0.5,)  # what is not finite has diverged
    with pytest.raises(ValueError, match="no trials"):
        best([])


def test_of_equal_scores_the_innermost_is_the_best_whatever_the_order():
    flat = grid(1, 1, 1, 1, 1)
    assert best(flat).point == best(flat[::-1]).point == (0.5,)
    assert best(grid(1, 1, 0, 0, 0)).point == (0.25,)
    assert best(grid(0, 1, 0, 1, 0)).point == best(grid(0, 1, 0, 1, 0)[::-1]).point == (0.25,)
    assert best([Tried((0.2, 0.1), 1), Tried((0.2, 0.9), 1), Tried((0.2, 0.4), 1)]).point == (0.2, 0.4)


def test_on_a_grid_an_edge_is_the_outermost_trial():
    assert edges(grid(5, 2, 1, 1, 1), [LR], "grid") == {"lr": "low"}
    assert edges(grid(1, 2, 3, 4, 5), [LR], "grid") == {"lr": "high"}
    assert edges(grid(1, 5, 1, 1, 1), [LR], "grid") == {}
    assert edges([*grid(5, 1, 1, 1, 1), Tried((-0.25,), 4)], [LR], "grid") == {}
    assert edges([*grid(5, 1, 1, 1, 1), Tried((-0.25,), 6)], [LR], "grid") == {"lr": "low"}
    assert edges([*grid(5, 1, 1, 1, 1), Tried((-0.25,), -INF)], [LR], "grid") == {}  # what lies beyond was seen


def test_a_range_that_defines_a_contender_has_no_edge():
    assert edges(grid(5, 2, 1, 1, 1), [KEPT], "grid") == {}
    assert edges(grid(*[-INF] * 5), [KEPT], "grid") == {}
    assert edges([Tried((0.01, 0.99), 1.0)], [KEPT, KEPT], "sobol") == {}


def test_nothing_lies_below_a_range_that_starts_at_0():
    assert edges(grid(5, 2, 1, 1, 1), [DROP], "grid") == {}
    assert edges(grid(1, 2, 1, 1, 5), [DROP], "grid") == {"drop": "high"}
    assert of_grid(grid(5, 2, 1, 1, 1), DROP) == (0.125,)
    near = Dimension("drop", "here", low=0.1, high=0.5)  # 0 is a quarter of the range below
    assert of_grid(grid(5, 2, 1, 1, 1), near) == (pytest.approx(-0.25),)
    assert of_grid(grid(5, 2, 1, first=3), near, 3) == (pytest.approx(-0.25),)
    assert edges([*grid(5, 2, 1, 1, 1), Tried((-0.25,), 9)], [near], "grid") == {}


def test_a_grid_widens_by_a_step_as_long_as_the_best_is_on_the_edge():
    tried = grid(5, 4, 3, 2, 1)
    for expected in (-0.25, -0.5, -0.75):
        assert of_grid(tried) == (expected,)
        tried.append(Tried((expected,), 5 - expected))
    assert of_grid(grid(1, 2, 3, 4, 5)) == (1.25,)
    assert of_grid(grid(1, 2, first=2), first=2) == (2.0,)
    assert of_grid([Tried((0.5,), 1)], first=1) == (0.0,)


def test_a_grid_refines_towards_the_better_neighbour_first():
    tried = grid(0, 3, 5, 4, 0)
    expected = [0.625, 0.375, 0.5625, 0.4375]
    for share in expected:
        assert of_grid(tried) == (share,)
        tried.append(Tried((share,), share))
    assert of_grid(grid(0, 4, 5, 3, 0)) == (0.375,)
    assert of_grid(grid(0, 4, 5, 4, 0)) == (0.375,)  # the smaller one of two as good
    assert of_grid(grid(0, 3, 5, -INF, NAN)) == (0.375,)


def test_a_grid_follows_a_better_point_that_it_finds():
    tried = [*grid(0, 3, 5, 4, 0), Tried((0.625,), 6)]
    assert of_grid(tried) == (0.5625,)  # both half steps are tried; the neighbour at 0.5 is better than that at 0.75
    assert of_grid([*tried, Tried((0.5625,), 2)]) == (0.6875,)


def test_a_grid_that_must_not_widen_refines_inside():
    assert of_grid(grid(5, 4, 3, 2, 1), KEPT) == (0.125,)
    assert of_grid(grid(1, 2, 3, 4, 5), KEPT) == (0.875,)


def test_where_all_diverged_the_search_goes_lower():
    tried = grid(*[-INF] * 5)
    assert edges(tried, [LR], "grid") == {"lr": "low"}
    assert of_grid(tried) == (-0.25,)
    assert of_grid([*tried, Tried((-0.25,), NAN)]) == (-0.5,)
    assert of_grid([*tried, Tried((-0.25,), 1.0)]) == (-0.5,)  # alive, and on the edge
    assert of_grid(tried, KEPT) is not None
    two = [Tried(point, -INF) for point in first_points("sobol", [MODE, LR, BETA], 4)]
    assert edges(two, [MODE, LR, BETA], "sobol") == {"lr": "low", "betas[1]": "low"}
    point = reserve_point(two, [MODE, LR, BETA], "sobol", 4)
    lowest = min(two, key=lambda one: one.point[1])
    assert point == (lowest.point[0], -STRIDE, lowest.point[2])


def test_quasi_random_points_widen_beyond_every_edge_at_once():
    tried = [Tried((0.02, 0.5, 0.97), 9), Tried((0.5, 0.1, 0.2), 1)]
    dimensions = [LR, MODE, BETA]
    assert edges(tried, dimensions, "sobol") == {"lr": "low", "betas[1]": "high"}
    point = reserve_point(tried, dimensions, "sobol", 2)
    assert point == (-0.25, 0.5, 1.25)
    assert edges([*tried, Tried(point, 10)], dimensions, "sobol") == {"lr": "low", "betas[1]": "high"}
    assert edges([*tried, Tried(point, 3)], dimensions, "sobol") == {}  # 5 % of what is now the range
    assert edges([Tried((0.06, 0.5, 0.94), 9)], dimensions, "sobol") == {}


def test_quasi_random_points_refine_in_a_box_around_the_best():
    dimensions = [LR, MODE, BETA]
    tried = [Tried(point, -abs(point[0] - 0.4)) for point in first_points("sobol", dimensions, 5)]
    found = best(tried).point
    for _ in range(20):
        if edges(tried, dimensions, "sobol"):
            break
        point = reserve_point(tried, dimensions, "sobol", 5)
        assert point[1] == found[1]
        for i in (0, 2):
            assert abs(point[i] - found[i]) <= STRIDE
            assert 0.0 <= point[i] <= 1.0
        assert point not in [one.point for one in tried]
        tried.append(Tried(point, -INF))
    assert len(tried) > 10


def test_choices_alone_are_tried_until_there_are_no_more():
    tried = [Tried(point, 1.0) for point in first_points("sobol", [MODE], 2)]
    third = reserve_point(tried, [MODE], "sobol", 2)
    assert third not in [one.point for one in tried]
    assert edges(tried, [MODE], "sobol") == {}
    assert reserve_point([*tried, Tried(third, 2.0)], [MODE], "sobol", 2) is None


SCORES = st.one_of(st.floats(-10, 10), st.sampled_from([0.0, 1.0, -INF, NAN]))


@settings(deadline=None, max_examples=100)
@given(
    sampler=st.sampled_from(["grid", "sobol"]),
    dimension=st.sampled_from([LR, BETA, DROP, KEPT]),
    scores=st.lists(SCORES, min_size=2, max_size=12),
    first=st.integers(1, 6),
)
def test_no_point_is_tried_twice_and_every_point_is_allowed(sampler, dimension, scores, first):
    dimensions = [dimension] if sampler == "grid" else [MODE, dimension, DROP]
    first = min(first, len(scores) - 1)
    tried = [Tried(*pair) for pair in zip(first_points(sampler, dimensions, first), scores, strict=False)]
    for score in scores[len(tried) :]:
        point = reserve_point(tried, dimensions, sampler, first)
        assert all(max(abs(u - v) for u, v in zip(point, one.point, strict=True)) > 1e-9 for one in tried)
        assert all(d.holds(u) for d, u in zip(dimensions, point, strict=True))
        assert all(u >= d.floor for d, u in zip(dimensions, point, strict=True) if d.numeric)
        tried.append(Tried(point, score))
    assert set(edges(tried, dimensions, sampler)) <= {d.key for d in dimensions if d.widen and d.numeric}
    assert gain_of_tuning(tried, dimensions, sampler) >= 0.0


@settings(deadline=None)
@given(top=st.floats(-1, 2), height=st.floats(-5, 5), bend=st.floats(0.1, 50))
def test_the_gain_is_that_of_the_parabola_that_the_scores_lie_on(top, height, bend):
    tried = [Tried(point, height - bend * (point[0] - top) ** 2) for point in first_points("grid", [LR], 5)]
    for _ in range(2):
        point = reserve_point(tried, [LR], "grid", 5)
        tried.append(Tried(point, height - bend * (point[0] - top) ** 2))
    shares = [one.point[0] for one in tried]
    reached = height - bend * (min(max(top, min(shares)), max(shares)) - top) ** 2  # within what was tried
    assert gain_of_tuning(tried, [LR], "grid") == pytest.approx(reached - best(tried).score, abs=1e-6)


def test_the_gain_of_three_trials_worked_by_hand():
    # Through (0, 0), (0.5, 3), (1, 2) goes 10 u - 8 u^2, whose top is at u = 0.625: 3.125.
    assert gain_of_tuning(grid(0, 3, 2, first=3), [LR], "grid") == pytest.approx(0.125)


@pytest.mark.parametrize(
    "tried",
    [[], grid(1), grid(1, 2), grid(*[-INF] * 5), grid(NAN, 3, -INF, 4, -INF), grid(1, 1, 1, 1, 1), grid(5, 1, 5)],
)
def test_a_gain_that_cannot_be_estimated_is_0(tried):
    assert gain_of_tuning(tried, [LR], "grid") == pytest.approx(0.0, abs=1e-12)


def test_there_is_no_gain_of_quasi_random_points():
    assert gain_of_tuning(grid(0, 3, 2, 0, 0), [LR], "sobol") == 0.0
    assert gain_of_tuning([Tried((0.1, 0.2), 1)] * 4, [LR, BETA], "sobol") == 0.0
    assert gain_of_tuning([Tried((), 1)], [], "grid") == 0.0


def test_diverged_trials_are_no_points_of_a_parabola_but_a_gain_may_lie_between():
    tried = [Tried((u,), -((u - 0.6) ** 2)) for u in (0.0, 0.25, 0.5)] + [Tried((0.75,), -INF)]
    assert gain_of_tuning(tried, [LR], "grid") == pytest.approx(0.01)


def test_a_curve_that_is_flat_at_its_top_has_little_to_gain_whatever_it_falls_to_far_away():
    # Adam's learning rates on MovieLens as a study tried them, and minus the error on validation ratings.
    errors = {
        1e-5: 1.031,
        5.62e-5: 1.013,
        3.16e-4: 0.912,
        1.78e-3: 0.8409,
        2.74e-3: 0.8408,
        4.22e-3: 0.8405,
        1e-2: 0.8407,
    }
    tried = [Tried((math.log10(lr / 1e-5) / 3.0,), -error) for lr, error in errors.items()]
    assert gain_of_tuning(tried, [LR], "grid") > 0.01  # a parabola through all of them
    assert gain_of_tuning(tried, [LR], "grid", near=0.015) < 0.001
