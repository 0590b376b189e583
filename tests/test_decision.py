"""The four verdicts: each by its tests, what stands in their way, and what is said."""

import math
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from steepest.errors import ConfigError
from steepest.studies.decision import Decision, decide

NAN = math.nan
BASE = np.array([0.81, 0.79, 0.83, 0.80, 0.78, 0.82, 0.80, 0.81])
WIGGLE = np.array([1, -1, 2, 0, -2, 1, 0, -1]) * 1e-3


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def frame(contenders):
    rows = [
        (name, seed, value, "diverged" if math.isnan(value) else "finished")
        for name, values in contenders.items()
        for seed, value in enumerate(values, 101)
    ]
    return pd.DataFrame(rows, columns=["contender", "seed", "value", "status"])


def judged(evaluations, **given) -> Decision:
    evaluations = evaluations if isinstance(evaluations, pd.DataFrame) else frame(evaluations)
    usual = {"recommended": "a", "direction": "max", "worst": 0.1, "margin": 0.01, "undertuned": {}, "gains": {}}
    found = decide(evaluations, **{**usual, "obstacles": [], **given})
    assert found.reason.endswith(".")
    assert "\n" not in found.reason
    assert "nan" not in found.reason
    return found


def test_better_than_every_rival_is_confirmed():
    found = judged({"a": BASE + 0.02 + WIGGLE, "b": BASE, "c": BASE - 0.1 - WIGGLE})
    assert found.kind == "confirmed"
    assert re.match(r"a is better than all 2 rivals, than b, the best of them, by 0\.02 \(.* n=8\), p=", found.reason)
    assert found.seeds_needed is None


def test_better_than_all_but_one_is_not():
    found = judged({"a": BASE + 0.02 + WIGGLE, "b": BASE + 0.02 - WIGGLE, "c": BASE - 0.1 + WIGGLE})
    assert found.kind == "on par"
    assert "over b, the best rival, is 0 " in found.reason


def test_the_table_of_comparisons_is_that_of_scipy():
    a, b, c = BASE + 0.005 + WIGGLE, BASE - WIGGLE, BASE + 0.03 + WIGGLE[::-1]
    found = judged({"a": a, "b": b, "c": c})
    table = found.comparisons.set_index("rival")
    assert list(table.index) == ["b", "c"]
    raw = []
    for rival, values in (("b", b), ("c", c)):
        row, difference = table.loc[rival], a - values
        assert row["n"] == 8
        assert row["difference"] == pytest.approx(difference.mean())
        expected = stats.ttest_rel(a, values, alternative="greater")
        assert row["p_better"] == pytest.approx(expected.pvalue)
        both = stats.ttest_rel(a, values).confidence_interval(0.95)
        assert (row["low"], row["high"]) == (pytest.approx(both.low), pytest.approx(both.high))
        sides = [
            stats.ttest_1samp(difference, -0.01, alternative="greater").pvalue,
            stats.ttest_1samp(difference, 0.01, alternative="less").pvalue,
        ]
        assert row["p_equivalent"] == pytest.approx(max(sides))
        assert row["probability_of_improvement"] == pytest.approx(stats.mannwhitneyu(a, values).statistic / 64)
        assert row["undertuned"] == ""
        raw.append(stats.ttest_1samp(difference, -0.01, alternative="less").pvalue)
    low, high = sorted(raw)
    holm = sorted([min(2 * low, 1.0), max(min(2 * low, 1.0), high)])
    assert sorted(table["p_worse_holm"]) == pytest.approx(holm)
    assert found.kind == "refuted"
    assert found.reason.startswith("c is better than a by 0.025 (")


def test_worse_by_more_than_the_margin_is_refuted_and_by_less_is_not():
    assert judged({"a": BASE, "b": BASE + 0.02 + WIGGLE, "c": BASE - 0.1}).kind == "refuted"
    found = judged({"a": BASE, "b": BASE + 0.0098 + WIGGLE, "c": BASE - 0.1})
    assert found.kind == "inconclusive"  # the rival is better, yet perhaps by less than what matters
    assert judged({"a": BASE, "b": BASE + 0.02 + WIGGLE}, margin=0.03).kind == "on par"


def test_one_rival_that_is_better_refutes_whatever_the_others():
    rivals = {f"r{i}": BASE - 0.1 - WIGGLE for i in range(6)}
    assert judged({"a": BASE, **rivals, "b": BASE + 0.02 + WIGGLE}).kind == "refuted"


def test_holm_minds_the_number_of_rivals():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=8)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    edge = 0.01 + 0.01 * (2.2 + noise * math.sqrt(8)) / 2.2 * 0.5  # t = 2.2 above the margin: p of about 0.03
    alone = judged({"a": BASE, "b": BASE + edge})
    assert 0.025 < alone.comparisons["p_worse_holm"][0] < 0.05
    assert alone.kind == "refuted"
    assert judged({"a": BASE, "b": BASE + edge, "c": BASE - 0.2 + WIGGLE}).kind == "inconclusive"


def test_not_to_find_a_difference_is_not_equivalence():
    found = judged({"a": BASE + 20 * WIGGLE, "b": BASE})
    assert found.kind == "inconclusive"
    assert "settles nothing" in found.reason
    assert found.seeds_needed > 8
    assert found.seeds_settle == "on par"
    assert f"{found.seeds_needed} seeds would (on par)" in found.reason


def test_a_lower_metric_may_be_the_better_one():
    worse = {"a": 2 * BASE + 0.02 + WIGGLE, "b": 2 * BASE}
    found = judged(worse, direction="min", worst=10.0)
    assert found.kind == "refuted"
    assert found.comparisons["difference"][0] == pytest.approx(-0.02)
    assert judged(worse, direction="min", worst=10.0, recommended="b").kind == "confirmed"


@settings(deadline=None, max_examples=40)
@given(shift=st.floats(-0.05, 0.05), spread=st.floats(0, 20), rivals=st.integers(1, 3), seed=st.integers(0, 50))
def test_a_metric_and_its_negative_have_one_verdict(shift, spread, rivals, seed):
    rng = np.random.default_rng(seed)
    values = {name: rng.normal(size=6) * spread * 1e-3 for name in "abcd"[: rivals + 1]}
    values["a"] = values["a"] + shift
    one = judged(values, worst=-9.0)
    other = judged({name: -run for name, run in values.items()}, worst=9.0, direction="min")
    assert (one.kind, one.reason, one.seeds_needed) == (other.kind, other.reason, other.seeds_needed)
    pd.testing.assert_frame_equal(one.comparisons, other.comparisons)
    assert one.kind in ("confirmed", "refuted", "on par", "inconclusive")
    assert (one.seeds_needed is None) == (one.seeds_settle is None)
    shuffled = judged(frame(values).sample(frac=1, random_state=seed), worst=-9.0)
    assert shuffled.kind == one.kind


def test_nothing_is_confirmed_over_an_undertuned_rival():
    ahead = {"a": BASE + 0.02 + WIGGLE, "b": BASE, "c": BASE - 0.1 + WIGGLE}
    found = judged(ahead, undertuned={"c": "its best lr lies on the high edge"})
    assert found.kind == "inconclusive"
    assert "but c (its best lr lies on the high edge) is undertuned." in found.reason
    assert found.comparisons["undertuned"].tolist() == ["", "its best lr lies on the high edge"]
    assert found.seeds_needed is None
    found = judged(ahead, undertuned={"c": "x", "b": "y"})
    assert "but b (y) and c (x) are undertuned." in found.reason


def test_an_undertuned_rival_that_is_better_refutes_all_the_same():
    assert judged({"a": BASE, "b": BASE + 0.02 + WIGGLE}, undertuned={"b": "x"}).kind == "refuted"


def test_an_undertuned_rival_is_not_on_par_either():
    equal = {"a": BASE, "b": BASE + WIGGLE}
    assert judged(equal).kind == "on par"
    found = judged(equal, undertuned={"b": "x"})
    assert found.kind == "inconclusive"
    assert found.reason.endswith("which settles nothing, and b (x) is undertuned.")


def test_an_undertuned_recommendation_is_not_refuted_but_may_be_confirmed():
    found = judged({"a": BASE, "b": BASE + 0.02 + WIGGLE}, undertuned={"a": "why"})
    assert found.kind == "inconclusive"
    assert "a (why) is undertuned." in found.reason
    assert judged({"a": BASE + 0.02 + WIGGLE, "b": BASE}, undertuned={"a": "why"}).kind == "confirmed"


def test_a_rival_whose_gain_exceeds_the_leads_lower_bound_is_undertuned():
    ahead = {"a": BASE + 0.02 + WIGGLE, "b": BASE, "c": BASE - 0.1 + WIGGLE}
    bound = 0.02 - stats.t.ppf(0.95, 7) * WIGGLE.std(ddof=1) / math.sqrt(8)
    assert judged(ahead, gains={"b": bound - 1e-6}).kind == "confirmed"
    found = judged(ahead, gains={"b": bound + 1e-6, "c": 0.05})
    assert found.kind == "inconclusive"
    assert "but b (finer tuning could give it 0.0191) is undertuned." in found.reason
    assert found.comparisons["undertuned"].tolist() == ["finer tuning could give it 0.0191", ""]


def test_what_the_recommended_one_could_gain_speaks_against_refuting_it():
    behind = {"a": BASE, "b": BASE + 0.02 + WIGGLE}
    assert judged(behind, gains={"a": 0.005}).kind == "refuted"
    assert judged(behind, gains={"a": 0.02}).kind == "inconclusive"
    assert judged(behind, gains={"b": 5.0}).kind == "refuted"  # what the rival could gain does not


def test_what_either_could_gain_speaks_against_their_being_equal():
    equal = {"a": BASE, "b": BASE + WIGGLE}
    for contender in "ab":
        assert judged(equal, gains={contender: 0.005}).kind == "on par"
        assert judged(equal, gains={contender: 0.02}).kind == "inconclusive"


@pytest.mark.parametrize("kind", ["confirmed", "refuted", "on par"])
def test_obstacles_forbid_any_verdict_and_are_named(kind):
    shift = {"confirmed": 0.02, "refuted": -0.02, "on par": 0.0}[kind]
    contenders = {"a": BASE + shift + WIGGLE, "b": BASE}
    assert judged(contenders).kind == kind
    found = judged(contenders, obstacles=["this is a smoke run", "two source digests are mixed"])
    assert found.kind == "inconclusive"
    assert found.reason == "No verdict, since this is a smoke run; two source digests are mixed."
    assert len(found.comparisons) == 1


def test_a_divergence_counts_as_the_worst_and_is_never_dropped():
    unstable = np.array([0.95, 0.95, 0.95, NAN, 0.95, NAN, 0.95, NAN])
    found = judged({"a": unstable, "b": BASE})
    assert found.comparisons["difference"][0] == pytest.approx(np.where(np.isnan(unstable), 0.1, 0.95).mean() - 0.805)
    assert found.kind == "inconclusive"
    found = judged({"a": BASE, "b": np.full(8, NAN)})
    assert found.kind == "confirmed"
    assert judged({"a": np.full(8, NAN), "b": BASE}).kind == "refuted"


def test_where_every_run_diverged_there_is_no_verdict():
    found = judged({"a": np.full(8, NAN), "b": np.full(8, NAN)})
    assert (found.kind, found.reason) == ("inconclusive", "No verdict, since every run diverged.")
    assert found.seeds_needed is None


def test_a_seed_without_its_pair_is_missing_and_named():
    evaluations = frame({"a": BASE + 0.02 + WIGGLE, "b": BASE, "c": BASE - 0.1})
    gone = evaluations.drop(evaluations.index[(evaluations.contender == "b") & evaluations.seed.isin([103, 106])])
    found = judged(gone)
    assert found.kind == "inconclusive"
    assert found.reason == "No verdict, since b has no result of seed 103 and 106."
    assert found.comparisons["n"].tolist() == [6, 6]
    failed = evaluations.copy()
    failed.loc[failed.seed == 101, "status"] = "failed"
    reason = judged(failed).reason
    for name in "abc":
        assert f"{name} has no result of seed 101" in reason
    failed.loc[:, "status"] = "running"
    assert judged(failed).comparisons["n"].tolist() == [0, 0]


def test_pairs_are_by_seed_and_not_by_place():
    evaluations = frame({"a": BASE + 0.02 + WIGGLE, "b": BASE})
    turned = pd.concat([evaluations[:8], evaluations[8:][::-1]])
    pd.testing.assert_frame_equal(judged(turned).comparisons, judged(evaluations).comparisons)


def test_a_contender_without_any_run_is_missed_if_it_is_named():
    ahead = {"a": BASE + 0.02 + WIGGLE, "b": BASE}
    found = judged(ahead, contenders=["a", "b", "c"])
    assert (found.kind, found.reason) == ("inconclusive", "No verdict, since c has no result of any seed.")
    assert judged(ahead, contenders=["b", "a"]).kind == "confirmed"
    assert "a has no result of any seed" in judged({"b": BASE}).reason
    nothing = judged(frame({}), contenders=["b"])
    assert nothing.reason == "No verdict, since a has no result of any seed; b has no result of any seed."
    assert nothing.comparisons["n"].tolist() == [0]


def test_one_contender_or_one_seed_settles_nothing():
    assert judged({"a": BASE}).reason == "No verdict, since there is no rival."
    assert judged({"a": BASE}).comparisons.empty
    found = judged({"a": [0.9], "b": [0.1]})
    assert (found.kind, found.reason) == ("inconclusive", "No verdict, since one seed is too few.")
    assert found.seeds_needed is None


@pytest.mark.parametrize(
    ("shift", "margin", "kind"),
    [
        (0.0, 0.01, "on par"),
        (0.0, 0.0, "inconclusive"),
        (0.02, 0.01, "confirmed"),
        (1e-9, 0.01, "confirmed"),
        (-0.02, 0.01, "refuted"),
        (-0.01, 0.01, "inconclusive"),  # exactly the margin
        (-0.009, 0.01, "on par"),
    ],
)
def test_differences_that_do_not_vary(shift, margin, kind):
    found = judged({"a": np.full(8, 0.5 + shift), "b": np.full(8, 0.5), "c": np.full(8, 0.2)}, margin=margin)
    assert found.kind == kind
    assert found.comparisons.drop(columns=["rival", "undertuned"]).notna().all(axis=None)


def test_equal_differences_of_a_few_seeds_settle_nothing():
    found = judged({"a": [0.5, 0.6], "b": [0.4, 0.5]})
    assert found.kind == "inconclusive"
    assert (found.seeds_needed, found.seeds_settle) == (5, "confirmed")


def test_a_small_lead_is_confirmed_and_called_small():
    found = judged({"a": BASE + 0.005 + WIGGLE, "b": BASE})
    assert found.kind == "confirmed"
    assert found.reason.endswith("; that is not above the margin of 0.01.")
    assert "margin" not in judged({"a": BASE + 0.05 + WIGGLE, "b": BASE}).reason


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"margin": -0.1}, "margin=-0.1 is not possible; allowed is a number from 0 to inf."),
        ({"margin": NAN}, "margin=nan is not possible"),
        ({"alpha": 0.0}, "alpha=0.0 is not possible; allowed is a number from 0 to 0.5."),
        ({"alpha": 0.7}, "alpha=0.7 is not possible"),
        ({"direction": "up"}, "direction=up is unknown; allowed are max and min."),
        ({"worst": NAN}, "worst=nan is not possible; allowed is a finite number."),
        ({"gains": {"b": -1.0}}, "gains=-1.0 of b is not possible; allowed are numbers of 0 or more."),
        ({"gains": {"b": NAN}}, "gains=nan of b is not possible"),
    ],
)
def test_bad_input_is_one_sentence(given, said):
    with pytest.raises(ConfigError) as caught:
        judged({"a": BASE, "b": BASE}, **given)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)
