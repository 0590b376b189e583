"""The statistics of studies, against scipy and cases worked by hand."""

import itertools
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from steepest.errors import ConfigError
from steepest.studies.scores import score_table
from steepest.studies.seeds_needed import power_greater, seeds_needed
from steepest.studies.summary import best_of_k, summary_table
from steepest.studies.tests_of_means import (
    holm,
    interval,
    lower_bound,
    p_equivalent,
    p_greater,
    probability_of_improvement,
)
from steepest.studies.times import performance_profile, time_table, times_to_target

NAN, INF = math.nan, math.inf


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def frame(**values):
    """Evaluations: a contender's values by seed; None has failed, NaN has diverged."""
    rows = [
        {
            "contender": name,
            "seed": seed,
            "value": NAN if value is None else value,
            "status": "failed" if value is None else "diverged" if math.isnan(value) else "finished",
        }
        for name, run in values.items()
        for seed, value in enumerate(run)
    ]
    return pd.DataFrame(rows, columns=["contender", "seed", "value", "status"])


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@settings(deadline=None, max_examples=50)
@given(rivals=st.integers(1, 4), n=st.integers(2, 12), threshold=st.floats(-2, 2), seed=st.integers(0, 99))
def test_one_sided_p_values_are_those_of_scipy(rivals, n, threshold, seed):
    differences = noise(rivals, n, seed=seed)
    expected = stats.ttest_1samp(differences, threshold, axis=1, alternative="greater").pvalue
    np.testing.assert_allclose(p_greater(differences, threshold), expected, rtol=1e-9)
    np.testing.assert_allclose(p_greater(differences, np.full(rivals, threshold)), expected, rtol=1e-9)


def test_a_paired_test_is_the_test_of_the_differences():
    ours, theirs = noise(2, 8)
    expected = stats.ttest_rel(ours, theirs, alternative="greater").pvalue
    assert p_greater(ours - theirs) == pytest.approx(expected)


@settings(deadline=None, max_examples=50)
@given(n=st.integers(2, 12), level=st.floats(0.5, 0.99), seed=st.integers(0, 99))
def test_intervals_are_those_of_scipy(n, level, seed):
    differences = noise(n, seed=seed)
    expected = stats.ttest_1samp(differences, 0.0).confidence_interval(level)
    np.testing.assert_allclose(interval(differences, level), expected, rtol=1e-9)
    one_sided = stats.ttest_1samp(differences, 0.0, alternative="greater").confidence_interval(level)
    np.testing.assert_allclose(lower_bound(differences, 1 - level), one_sided.low, rtol=1e-6)


@settings(deadline=None)
@given(n=st.integers(2, 12), gain=st.floats(0, 2), seed=st.integers(0, 99))
def test_the_lower_bound_goes_with_the_test(n, gain, seed):
    differences = noise(n, seed=seed) + 1
    assert (p_greater(differences, gain) < 0.05) == (lower_bound(differences, 0.05) > gain)


def test_an_interval_of_3_worked_by_hand():
    # mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.3027
    low, high = interval([1.0, 2.0, 3.0])
    assert (low, high) == (pytest.approx(2 - 4.3027 / math.sqrt(3), abs=1e-4), pytest.approx(4.4841, abs=1e-4))


def test_differences_that_are_all_equal_have_the_p_value_of_the_sign_test():
    for n in (2, 5, 8):
        assert p_greater(np.full(n, 0.1)) == 0.5**n
        assert p_greater(np.full(n, 0.1), 0.1) == 1.0
        assert p_greater(np.full(n, 0.1), 0.2) == 1.0
        assert p_greater(np.zeros(n)) == 1.0
        assert p_greater(np.zeros(n), -1e-3) == 0.5**n
    rounding = np.array([0.3 - 0.2, 0.1, 0.4 - 0.3, 0.1, 0.8 - 0.7])
    assert rounding.std() > 0
    assert p_greater(rounding) == 0.5**5
    assert p_greater(rounding, 0.1) == 1.0
    mixed = np.array([[0.1] * 5, [0.1, 0.2, 0.1, 0.2, 0.1]])
    np.testing.assert_allclose(p_greater(mixed), [0.5**5, stats.ttest_1samp(mixed[1], 0, alternative="greater").pvalue])


def test_fewer_than_two_values_say_nothing():
    assert p_greater([3.0]) == 1.0
    assert p_greater([]) == 1.0
    assert p_greater(np.empty((3, 0)), np.zeros(3)).tolist() == [1.0] * 3
    assert interval([3.0]) == (-INF, INF)
    assert p_equivalent([0.0], 1.0, 1.0) == 1.0


def test_equivalence_is_the_greater_of_two_tests():
    differences = noise(10) * 0.1
    below = stats.ttest_1samp(differences, -0.1, alternative="greater").pvalue
    above = stats.ttest_1samp(differences, 0.3, alternative="less").pvalue
    assert p_equivalent(differences, 0.1, 0.3) == pytest.approx(max(below, above))
    assert p_equivalent(np.zeros(8), 0.1, 0.1) == 0.5**8
    assert p_equivalent(differences, 0.0, 0.0) >= 0.5  # nothing is equal within nothing


def test_holm_worked_by_hand():
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1, never falling.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.02]), [0.04, 0.03, 0.04])
    np.testing.assert_allclose(holm([0.5, 0.9, 0.6]), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(holm([0.01]), [0.01])
    np.testing.assert_allclose(holm([0.01, 0.01]), [0.02, 0.02])
    assert holm([]).size == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.2))
def test_holm_rejects_what_its_steps_reject(p, alpha):
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for step, i in enumerate(order):
        if p[i] * (len(p) - step) >= alpha:
            break
        rejected.add(i)
    assert {i for i, value in enumerate(holm(p)) if value < alpha} == rejected


def test_probability_of_improvement_is_that_of_mann_and_whitney():
    ours, theirs = noise(2, 9).round(1)
    expected = stats.mannwhitneyu(ours, theirs).statistic / 81
    assert probability_of_improvement(ours, theirs) == pytest.approx(expected)
    assert probability_of_improvement([1, 1], [1, 1]) == 0.5
    assert probability_of_improvement([1, 3], [0, 2]) == 0.75
    assert math.isnan(probability_of_improvement([], [1.0]))


def test_scores_are_oriented_and_divergences_are_the_worst():
    table = score_table(frame(b=[0.9, NAN, 0.05], a=[0.8, None, INF]), "max", 0.1)
    assert list(table.index) == ["b", "a"]
    np.testing.assert_array_equal(table.to_numpy(), [[0.9, 0.1, 0.1], [0.8, NAN, 0.1]])
    table = score_table(frame(a=[2.0, NAN, 11.0, -INF]), "min", 10.0)
    np.testing.assert_array_equal(table.to_numpy(), [[-2.0, -10.0, -10.0, -10.0]])
    one = frame(a=[2.0])
    one["status"] = "finished"
    one["value"] = None  # a run without the metric is missing, not diverged
    assert score_table(one, "min", 10.0).isna().all(axis=None)
    assert score_table(frame(), "max", 0.0).empty


def test_a_result_may_come_twice_if_it_is_the_same():
    once = frame(a=[1.0, 2.0])
    assert score_table(pd.concat([once, once]), "max", 0.0).loc["a"].tolist() == [1.0, 2.0]
    with pytest.raises(ConfigError, match=r"^contender=a seed=0 has several results; allowed is one of each seed.$"):
        score_table(pd.concat([once, frame(a=[1.5])]), "max", 0.0)


@pytest.mark.parametrize(("direction", "worst", "said"), [("up", 0.0, "direction=up"), ("max", NAN, "worst=nan")])
def test_what_is_no_direction_or_worst_is_one_sentence(direction, worst, said):
    with pytest.raises(ConfigError, match=f"^{said} is .*; allowed"):
        score_table(frame(a=[1.0]), direction, worst)


def test_a_summary_has_t_intervals_below_20_seeds():
    values = noise(8) + 5
    table = summary_table(frame(a=values, b=[1.0], c=[None], d=[2.0, NAN, 3.0]), direction="min", worst=7.0)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    np.testing.assert_allclose(table.loc["a", ["mean", "low", "high"]].to_list(), [values.mean(), *expected])
    assert table.loc["b", ["mean", "low", "high", "n"]].tolist() == [1.0, -INF, INF, 1]
    assert table.loc["c", ["n", "diverged"]].tolist() == [0, 0]
    assert math.isnan(table.loc["c", "mean"])
    assert table.loc["d", ["mean", "n", "diverged"]].tolist() == [4.0, 3, 1]
    assert table["iqm"].isna().all()
    assert list(summary_table(frame(), direction="max", worst=0.0).columns) == list(table.columns)


def test_a_summary_has_interquartile_means_from_10_seeds_on():
    values = np.array([*noise(11), 50.0])
    row = summary_table(frame(a=values), direction="max", worst=-100.0).loc["a"]
    assert row["iqm"] == pytest.approx(np.sort(values)[3:9].mean())
    assert row["iqm_low"] < row["iqm"] < row["iqm_high"] < 5
    again = summary_table(frame(a=values), direction="max", worst=-100.0).loc["a"]
    pd.testing.assert_series_equal(row, again)
    still = summary_table(frame(a=[2.0] * 12), direction="max", worst=0.0).loc["a"]
    assert still[["mean", "low", "high", "iqm", "iqm_low", "iqm_high"]].tolist() == [2.0] * 6


def test_from_20_seeds_on_the_interval_of_a_mean_is_bootstrapped():
    values = noise(20)
    row = summary_table(frame(a=values), direction="max", worst=-9.0).loc["a"]
    deviation = values.std() / math.sqrt(20)
    assert row["low"] == pytest.approx(values.mean() - 1.96 * deviation, abs=0.1 * deviation)
    assert row["high"] == pytest.approx(values.mean() + 1.96 * deviation, abs=0.2 * deviation)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=7))
def test_the_best_of_k_is_the_mean_over_all_draws(scores):
    expected = [np.mean([max(some) for some in itertools.combinations(scores, k)]) for k in range(1, len(scores) + 1)]
    np.testing.assert_allclose(best_of_k(scores), expected, atol=1e-12)


def test_the_best_of_k_with_trials_that_diverged():
    assert best_of_k([NAN, 1.0, -INF, 3.0]).tolist() == [-INF, -INF, 2.5, 3.0]
    assert best_of_k([-INF, -INF]).tolist() == [-INF, -INF]
    assert best_of_k([2.0, 2.0, 2.0]).tolist() == pytest.approx([2.0] * 3)
    assert best_of_k([]).size == 0
    many = best_of_k(list(range(300)))  # binomial coefficients beyond floating point would be no numbers
    assert np.isfinite(many).all()
    assert (many[0], many[-1]) == (pytest.approx(149.5), pytest.approx(299))


def test_the_power_is_that_of_the_noncentral_t():
    n = np.array([2.0, 8.0, 30.0])
    expected = stats.nct.sf(stats.t.ppf(0.95, n - 1), n - 1, 0.5 * np.sqrt(n) / 1.5)
    np.testing.assert_allclose(power_greater(np.array([1.0]), np.array([1.5]), np.array([0.5]), n, 0.05)[0], expected)
    assert power_greater(np.array([1e6]), np.array([1.0]), np.array([0.0]), n, 0.05)[0, -1] == pytest.approx(1.0)
    assert power_greater(np.array([-1e6]), np.array([1.0]), np.array([0.0]), n, 0.05)[0, -1] == pytest.approx(0.0)


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 6, 0.05 / 20])
@pytest.mark.parametrize("mean", [-50.0, -20.0, -8.0, -5.0, -1.0, -0.01])
def test_below_the_threshold_no_number_of_seeds_has_power(mean, alpha):
    power = power_greater(np.array([mean]), np.array([1.0]), np.array([0.0]), np.arange(2.0, 1001.0), alpha)
    assert np.isfinite(power).all()
    assert (power <= alpha + 1e-9).all()


def test_a_row_of_a_rival_just_above_the_margin_and_others_far_behind_takes_many_seeds():
    # The mean 0.00526 of -0.005 and its deviation are of a run of the study `domains`.
    rivals = {"rmsprop": spread(-0.00526, 0.0013), "sgd": spread(0.0173, 0.0039)}
    found = seeds_needed(rivals, 0.005)
    assert found.kind == "refuted"
    assert found.seeds > 100


def spread(mean, deviation, n=8):
    """n values of exactly this mean and standard deviation."""
    values = noise(n)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


def test_the_seeds_of_a_table_of_powers():
    # One-sided paired t test, effect of half a deviation, 5 %, power 80 %: 27 pairs (Cohen 1988 and G*Power agree).
    assert seeds_needed({"b": spread(0.5, 1.0)}, margin=0.01) == (27, "confirmed")
    assert seeds_needed({"b": spread(-0.6, 1.0)}, margin=0.1) == (27, "refuted")
    assert seeds_needed({"b": spread(0.0, 1.0)}, margin=0.5)[1] == "on par"
    assert seeds_needed({"b": spread(0.0, 1.0)}, margin=0.01) is None


def test_what_stands_in_the_way_takes_more_seeds_or_all():
    one = {"b": spread(0.5, 1.0)}
    assert seeds_needed(one, 0.01, gains={"b": 0.2})[0] > 27
    assert seeds_needed(one, 0.01, gains={"b": 0.6}) is None
    assert seeds_needed(one, 0.01, possible=["refuted", "on par"]) is None
    assert seeds_needed({"b": -one["b"]}, 0.0, own_gain=0.2)[0] > 27
    assert seeds_needed({"b": -one["b"]}, 0.0, own_gain=0.6) is None
    assert seeds_needed({**one, "c": one["b"]}, 0.01)[0] > 27
    assert seeds_needed({**one, "c": spread(50.0, 1.0)}, 0.01)[0] == 27


def test_seeds_without_spread_or_without_anything():
    assert seeds_needed({"b": [0.1, 0.1]}, margin=0.01) == (5, "confirmed")  # 1 / 2^5 is the first below 5 %
    assert seeds_needed({"b": [-0.1, -0.1]}, margin=0.01) == (5, "refuted")
    assert seeds_needed({"b": [0.0, 0.0]}, margin=0.01) == (5, "on par")
    assert seeds_needed({"b": [0.0, 0.0]}, margin=0.0) is None
    assert seeds_needed({"b": [0.1]}, margin=0.01) is None
    assert seeds_needed({}, margin=0.01) is None


def test_a_run_reaches_its_target_when_it_first_passes_it():
    rows = pd.DataFrame(
        {
            "run_id": ["a", "a", "a", "a", "b", "b", "c"],
            "opt_step": [30, 10, 20, 40, 10, 20, NAN],
            "val/accuracy": [0.8, 0.5, NAN, 0.7, 0.6, 0.79, 0.9],
        }
    )
    found = times_to_target(rows, metric="val/accuracy", target=0.8, direction="max", clock="opt_step")
    assert found.to_numpy().tolist() == [["a", 30.0, True], ["b", 20.0, False], ["c", 0.0, False]]
    found = times_to_target(rows, metric="val/accuracy", target=0.5, direction="min", clock="opt_step")
    assert found["time"].tolist() == [10.0, 20.0, 0.0]
    found = times_to_target(rows, metric="val/loss", target=1, direction="min", clock="opt_step")
    assert not found["reached"].any()


def test_a_median_time_minds_the_runs_that_never_get_there():
    times = pd.DataFrame(
        {
            "contender": ["a"] * 5 + ["b"] * 4 + ["c"] * 2 + ["d"] * 3,
            "time": [1, 2, 3, 9, 9, 4, 9, 9, 9, 9, 9, 5, 2, 3],
            "reached": [True, True, True, False, False, True, False, False, False, False, False, True, False, True],
        }
    )
    table = time_table(times)
    assert table["n"].tolist() == [5, 4, 2, 3]
    assert table["reached"].tolist() == [3, 1, 0, 2]
    # d: of 2 at risk at 3 one gets there, so half are left then.
    assert table["median"].tolist() == [3.0, INF, INF, 3.0]
    assert time_table(times.iloc[:0]).empty


def test_a_performance_profile_worked_by_hand():
    times = pd.DataFrame(
        [
            ("p", "a", 1.0), ("p", "b", 2.0),
            ("q", "a", 6.0), ("q", "b", 2.0),
            ("r", "a", INF), ("r", "b", 5.0),
            ("s", "a", NAN), ("s", "b", INF),
        ],
        columns=["problem", "contender", "time"],
    )  # fmt: skip
    found = performance_profile(times)
    assert found[found.contender == "a"][["ratio", "share"]].to_numpy().tolist() == [[1.0, 0.25], [3.0, 0.5]]
    assert found[found.contender == "b"][["ratio", "share"]].to_numpy().tolist() == [[1.0, 0.5], [2.0, 0.75]]
    assert performance_profile(times[times.problem == "s"])["share"].tolist() == [0.0, 0.0]
    missing = performance_profile(times.iloc[[0, 1, 3]])  # a has no time on q
    assert missing[missing.contender == "a"]["share"].tolist() == [0.5]


def test_times_of_0_are_the_quickest_and_below_0_there_are_none():
    times = pd.DataFrame({"problem": ["p", "p"], "contender": ["a", "b"], "time": [0.0, 2.0]})
    assert performance_profile(times)["share"].tolist() == [1.0, 0.0]
    with pytest.raises(ValueError, match="below 0"):
        performance_profile(times.assign(time=-1.0))
