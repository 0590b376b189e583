"""Environments: new episodes, statistics, exact places, evaluation, and what is said of those that cannot be had."""

import functools
import io
import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control import CartPoleEnv
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest.build import build
from steepest.config import compose
from steepest.datasets.episodes import film, play
from steepest.datasets.fleet import Fleet
from steepest.datasets.gymnasium_make import usable
from steepest.datasets.replayable import Replayable
from steepest.datasets.vectorized_cartpole import VectorizedCartPole
from steepest.errors import ConfigError

SHORT = {"max_episode_steps": 5}


@functools.cache
def configuration(*words):
    return compose(list(words)).dataset


def data(*words):
    made = build(configuration(*words))
    made.setup()
    made.attach(batch_size=1, seed=0, steps_per_epoch=3)
    return made


def fleet(name, count=2, seed=0, **options):
    envs = [lambda: Replayable(gymnasium.make(name, **options))] * count
    return Fleet(SyncVectorEnv(envs, copy=False, autoreset_mode=AutoresetMode.SAME_STEP), seed)


def test_a_step_that_ends_an_episode_begins_the_next_and_shows_the_last_observation():
    environments = fleet("CartPole-v1", count=2, **SHORT)
    alone = [gymnasium.make("CartPole-v1", **SHORT) for _ in range(2)]
    seen = [env.reset(seed=seed)[0] for seed, env in enumerate(alone)]
    for step in range(1, 13):
        assert np.array_equal(environments.observations, seen)
        found = environments.step(np.array([0, 1]))
        expected = [env.step(action) for action, env in enumerate(alone)]
        assert np.array_equal(found.successors, [observation for observation, *_ in expected])
        assert found.truncated.all() == found.truncated.any() == (step % 5 == 0)
        assert not found.terminated.any()
        assert (found.rewards == 1).all()
        seen = [env.reset()[0] if step % 5 == 0 else expected[i][0] for i, env in enumerate(alone)]
    assert environments.finished == [(5.0, 5)] * 4


def test_vectorized_cartpole_is_cartpole_with_no_step_between_episodes():
    envs = VectorizedCartPole(num_envs=3, max_episode_steps=30)
    alone = [CartPoleEnv() for _ in range(3)]
    observations, _ = envs.reset(seed=1)
    random = np.random.default_rng(0)
    ended = dict.fromkeys(("terminated", "truncated"), 0)
    for env, state in zip(alone, envs.state.T, strict=True):
        env.reset()
        env.state = state
    lengths = np.zeros(3, int)
    for _ in range(300):
        actions = random.integers(2, size=3)
        if _ > 200:
            actions = (observations[:, 2] + observations[:, 3] > 0).astype(int)  # balances
        observations, rewards, terminated, truncated, info = envs.step(actions)
        lengths += 1
        assert (rewards == 1).all()
        assert np.array_equal(truncated, lengths == 30)
        for i, env in enumerate(alone):
            after, _, over, *_ = env.step(actions[i])
            assert over == terminated[i]
            final = observations[i]
            if terminated[i] or truncated[i]:
                assert info["_final_obs"][i]
                final = info["final_obs"][i]
                assert (np.abs(observations[i]) <= 0.05).all()
                env.reset()
                env.state, lengths[i] = envs.state[:, i], 0
            np.testing.assert_allclose(final, after, rtol=1e-5, atol=1e-7)
        ended["terminated"] += terminated.sum()
        ended["truncated"] += truncated.sum()
    assert ended["terminated"] > 10 < ended["truncated"]


def test_gymnasiums_own_vectorized_cartpole_has_a_step_more_an_episode():
    """What the subclass is for; where this no longer holds it can go."""
    ours, theirs = VectorizedCartPole(num_envs=1), CartPoleVectorEnv(num_envs=1)
    first = [envs.reset(seed=3)[0] for envs in (ours, theirs)]
    assert np.array_equal(*first)
    while True:
        ours_saw, _, terminated, *_ = ours.step(np.array([1]))
        theirs.step(np.array([1]))
        if terminated:
            break
    observation, reward, *_ = theirs.step(np.array([1]))
    assert reward == 0
    assert np.array_equal(observation, ours_saw)


NAMES = ["CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "FrozenLake-v1", "Taxi-v4", "Blackjack-v1"]


@pytest.mark.filterwarnings("ignore:.*out of date.*")
@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31 - 3), numbers=st.lists(st.integers(0, 10**9), max_size=40))
def test_environments_are_found_again_bit_for_bit(name, seed, numbers):
    words = ["experiment=rl", "dataset=gymnasium", f"dataset.id={name}", "dataset.num_envs=2"]
    made = data(*words)
    here, there = made.fleet(), made.fleet()
    space = here.envs.single_action_space

    def actions(number):
        random = np.random.default_rng(number)
        if hasattr(space, "n"):
            return random.integers(space.n, size=2)
        return random.uniform(-2, 2, (2, 1)).astype(np.float32)

    for number in numbers:
        here.step(actions(number))
    file = io.BytesIO()
    torch.save(here.state_dict(), file)
    file.seek(0)
    there.load_state_dict(torch.load(file, weights_only=True))
    for number in range(50):
        assert np.array_equal(here.observations, there.observations)
        one, other = here.step(actions(number)), there.step(actions(number))
        assert all(map(np.array_equal, one, other))
    assert here.finished == there.finished
    assert str(here.state_dict()) == str(there.state_dict())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), steps=st.integers(0, 60))
def test_vectorized_cartpole_is_found_again_bit_for_bit(seed, steps):
    here, there = (Fleet(VectorizedCartPole(3, max_episode_steps=20), number) for number in (seed, 5))
    random = np.random.default_rng(seed)
    for _ in range(steps):
        here.step(random.integers(2, size=3))
    file = io.BytesIO()
    torch.save(here.state_dict(), file)
    file.seek(0)
    there.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(40):
        actions = random.integers(2, size=3)
        assert np.array_equal(here.observations, there.observations)
        assert all(map(np.array_equal, here.step(actions), there.step(actions)))
    assert here.finished == there.finished


class Wilful(gymnasium.Env):
    """Chance from elsewhere than its np_random."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,))
    action_space = gymnasium.spaces.Discrete(2)
    random = np.random.default_rng(0)
    ends = False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.random.random(1, np.float32), {}

    def step(self, action):
        return self.random.random(1, np.float32), 0.0, self.ends and self.random.random() < 0.5, False, {}


def test_an_environment_that_is_not_found_again_is_told_of(monkeypatch):
    envs = SyncVectorEnv([lambda: Replayable(Wilful())] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    environments = Fleet(envs, 0)
    for _ in range(20):
        environments.step(np.array([0, 1]))
    state = environments.state_dict()
    with pytest.raises(ConfigError, match=r"cannot be found again \(its observation is another one\).* force=true"):
        environments.load_state_dict(state)
    monkeypatch.setattr(Wilful, "ends", True)
    with pytest.raises(ConfigError, match=r"its episode ended after \d steps and not after 20"):
        environments.load_state_dict(state)


def test_whole_episodes_are_played_one_in_each_environment():
    envs = [gymnasium.make("CartPole-v1") for _ in range(12)]
    counts = []

    def act(observations):
        counts.append(len(observations))
        return np.zeros(len(observations), int)

    found = play(envs, act, range(12))
    assert (found.returns == found.lengths).all()
    assert set(found.lengths) <= set(range(8, 12))
    assert counts[0] == 12
    assert sum(counts) == found.lengths.sum()
    again = play(envs, act, range(12))
    assert np.array_equal(found.lengths, again.lengths)


def test_evaluation_is_the_same_for_every_seed_and_another_for_each_split():
    one, other = data("experiment=rl"), data("experiment=rl")
    other.attach(batch_size=1, seed=7, steps_per_epoch=3)
    beginnings = []

    def act(observations):
        beginnings.append(observations.copy())
        return np.zeros(len(observations), int)

    for made, split in ((one, "val"), (other, "val"), (one, "val"), (one, "test")):
        beginnings.append(None)
        made.play(split, act)
    first = [beginnings[i + 1] for i, entry in enumerate(beginnings) if entry is None]
    assert np.array_equal(first[0], first[1])
    assert np.array_equal(first[0], first[2])
    assert len(first[3]) == one.num_test
    assert not np.isin(first[3][:, 0], first[0][:, 0]).any()
    assert not np.array_equal(one.fleet().observations, other.fleet().observations)
    one.teardown("fit")


def test_frames_are_evenly_spaced_and_not_too_many():
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array", **SHORT)
    frames = film(env, lambda observations: np.zeros(1, int), 0, 100)
    assert len(frames) == 6
    assert {(frame.shape, frame.dtype.name) for frame in frames} == {((400, 600, 3), "uint8")}
    env = gymnasium.make("MountainCar-v0", render_mode="rgb_array")
    shots = []
    env.unwrapped.render = lambda: shots.append(None) or np.full((1, 1, 3), env.unwrapped.state[0] * 0, np.uint8)
    assert 10 < len(film(env, lambda observations: np.zeros(1, int), 0, 20)) <= 20
    assert len(shots) < 60


def test_observations_that_are_no_arrays_are_flattened():
    made = data("experiment=rl", "dataset=gymnasium", "dataset.id=FrozenLake-v1", "dataset.num_envs=3")
    assert made.observation_shape == (16,)
    assert made.num_actions == 4
    environments = made.fleet()
    assert environments.observations.tolist() == [[1.0] + 15 * [0.0]] * 3
    assert environments.observations.dtype == np.float32
    assert "FrozenLake-v1, observations of shape (16,)" in made.describe()


def test_turns_and_a_blank_batch():
    made = data("experiment=rl")
    assert len(made.train_dataloader()) == 3
    assert [len(made.val_dataloader()), len(made.test_dataloader()), len(made.predict_dataloader())] == [1, 1, 1]
    assert made.blank_batch(7)[0].shape == (7, 4)
    assert (made.num_train, made.num_val, made.num_test) == (10_000, 20, 100)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("dataset.id=CartPol-v1", "dataset.id=CartPol-v1 is unknown; did you mean CartPole-v1"),
        (
            "dataset.id=zzzzzzzzz-v1",
            "dataset.id=zzzzzzzzz-v1 is unknown (Environment `zzzzzzzzz` doesn't exist); ",
        ),
        ("dataset.id=Taxi-v3", "dataset.id=Taxi-v3 is unknown; did you mean Taxi-v4"),
        ("dataset.id=CartPole-v77", "dataset.id=CartPole-v77 is unknown; did you mean CartPole-v"),
        ("dataset.id=os:X-v1", "would run the module os; allowed are ids without a module, or --allow-target os."),
        ("dataset.id='a b'", "dataset.id=a b with dataset.options={} cannot be made (Malformed environment ID: a b"),
        (
            "+dataset.options.wind=3",
            "with dataset.options={wind: 3} cannot be made (CartPoleEnv.__init__() got an un",
        ),
        ("+dataset.options.max_episode_steps=0", "cannot be made (Expect the `max_episode_steps` to be positive"),
        ("+dataset.options.render_mode=human", "allowed are arguments of gymnasium.make other than render_mode."),
        ("dataset.num_envs=0", "dataset.num_envs=0 is not possible; allowed are whole numbers from 1."),
        ("dataset.epoch_steps=0", "dataset.epoch_steps=0 is not possible; allowed are whole numbers from 1."),
        ("dataset.val_episodes=0", "dataset.val_episodes=0 is not possible; allowed are whole numbers from 1."),
        ("dataset.test_episodes=-1", "dataset.test_episodes=-1 is not possible; allowed are whole numbers from 1."),
        ("dataset.eval_seed=-1", "dataset.eval_seed=-1 is not possible; allowed are whole numbers from 0."),
        ("dataset.vectorized=true dataset.id=Acrobot-v1", "allowed are false, and CartPole-v1."),
        ("dataset.vectorized=true +dataset.options.disable_env_checker=true", "make other than disable_env_checker."),
    ],
)
def test_what_cannot_be_had_is_one_sentence(words, said):
    with pytest.raises(ConfigError) as caught:
        data("experiment=rl", *words.replace("'a b'", "a b").split("|") if "a b" in words else words.split())
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "package"), [("Ant-v5", "mujoco"), ("LunarLander-v3", "Box2D")])
def test_a_package_that_is_missing_is_named(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    for module in [
        module for module in sys.modules if module.startswith(("gymnasium.envs.mujoco", "gymnasium.envs.box2d"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ConfigError, match=rf"dataset.id={name} needs a package that is not installed \(.*{package}"):
        data("experiment=rl", "dataset=gymnasium", f"dataset.id={name}")


def test_actions_without_a_policy_are_named():
    made = data("experiment=rl", "dataset=gymnasium", "dataset.id=Pendulum-v1")
    assert made.action_size == 1
    with pytest.raises(ConfigError, match="Pendulum-v1 has vectors of numbers as actions; allowed is task=ppo with"):
        _ = made.num_actions
    with pytest.raises(ConfigError, match="CartPole-v1 has 2 actions to choose from; allowed is a model for such"):
        _ = data("experiment=rl").action_size
    for space in (gymnasium.spaces.MultiDiscrete([2, 2]), gymnasium.spaces.Box(0, 1, (2, 2))):
        with pytest.raises(ConfigError, match=r"dataset.id=x has actions of the kind .*; allowed are environ"):
            usable(space, "x")
