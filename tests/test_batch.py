import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from steepest.batch import Batch
from steepest.budget import Budget
from steepest.build import build
from steepest.config import conf_dir
from steepest.errors import ConfigError

NODES = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "batch").glob("*.yaml"))}


def plan(name, num_train=10_000, world_size=1, **changed):
    return build(OmegaConf.merge(NODES[name], changed)).plan(num_train, world_size)


def test_the_four_kinds_of_gradient_descent():
    full, single, mini, large = (plan(name) for name in ("full", "single", "mini", "large"))
    assert (full.size, full.accumulate, full.steps_per_epoch, full.exact) == (10_000, 5, 1, True)
    assert (single.size, single.accumulate, single.steps_per_epoch) == (1, 1, 10_000)
    assert (mini.size, mini.accumulate, mini.steps_per_epoch) == (128, 1, 78)
    assert (large.size, large.micro_size, large.accumulate, large.steps_per_epoch) == (1024, 128, 8, 9)


@given(
    micro=st.integers(1, 64),
    accumulate=st.integers(1, 8),
    world=st.integers(1, 8),
    steps=st.integers(1, 20),
    rest=st.integers(0, 50),
)
def test_a_step_takes_exactly_its_size_whatever_the_devices(micro, accumulate, world, steps, rest):
    size = micro * accumulate * world
    made = Batch(size, micro, "none", 128).plan(size * steps + rest % size, world)
    assert made.micro_size * made.accumulate * world == made.size == size
    assert made.steps_per_epoch == steps


@given(n=st.integers(1, 5000), micro=st.integers(1, 700), world=st.integers(1, 4))
def test_full_batches_fit_into_micro_batches(n, micro, world):
    made = Batch(None, micro, "none", 128).plan(n, world)
    assert made.size == n
    assert made.steps_per_epoch == 1
    assert made.accumulate * world * made.micro_size >= n
    assert made.micro_size <= micro


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("linear", 8.0), ("sqrt", 8.0**0.5)])
def test_learning_rate_scaling(scaling, factor):
    assert plan("large", lr_scaling=scaling).lr_factor == pytest.approx(factor)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"size": 0}, "batch.size=0"),
        ({"size": 1.5}, "batch.size=1.5"),
        ({"size": "many"}, "batch.size=many"),
        ({"size": 10_001}, "allowed is up to 10000"),
        ({"micro_size": -1}, "batch.micro_size=-1"),
        ({"micro_size": 3}, "batch.micro_size=3 does not divide the 128"),
        ({"lr_scaling": "cubic"}, "batch.lr_scaling=cubic"),
        ({"reference_size": 0}, "batch.reference_size=0"),
    ],
)
def test_bad_batches_are_named(changed, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        plan("mini", **changed)


def test_a_batch_that_does_not_divide_among_devices_is_named():
    with pytest.raises(ConfigError, match=r"batch.size=128 is no multiple of the 3 devices"):
        plan("mini", world_size=3)


@pytest.mark.parametrize(
    ("bounds", "steps"),
    [
        ((100, None, None, None), 100),
        ((None, 3, None, None), 30),
        ((None, 2.55, None, None), 26),
        ((None, None, 1000, None), 8),
        ((100, 3, 1000, 5.0), 8),
        ((5, 3, 1000, None), 5),
        ((None, 0.001, None, None), 1),
    ],
)
def test_the_first_bound_ends_the_run(bounds, steps):
    assert Budget(*bounds).total_steps(steps_per_epoch=10, examples_per_step=128) == steps


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ((None, None, None, 10.0), "are all null"),
        ((0, None, None, None), "budget.steps=0"),
        ((None, -1, None, None), "budget.epochs=-1"),
        ((None, None, "1k", None), "budget.examples=1k"),
        ((10, None, None, 0), "budget.seconds=0"),
        ((float("nan"), None, None, None), "budget.steps=nan"),
    ],
)
def test_bad_budgets_are_named(bounds, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        Budget(*bounds)
