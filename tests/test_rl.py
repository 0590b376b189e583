"""PPO and DQN: their formulas by hand, their accounting, exact resumes, and that they learn."""

import collections
import io
import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st
from killing import content, differences
from killing import run as killed
from torch import nn
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal

from steepest.assemble import assemble
from steepest.config import compose
from steepest.errors import ConfigError
from steepest.evaluate import evaluate_command, predict_command
from steepest.launchers.machine import settle
from steepest.runs.folder import RunFolder
from steepest.tasks.advantages import advantages
from steepest.tasks.policies import Categorical, Gaussian
from steepest.tasks.ppo import Experience
from steepest.tasks.replay import Replay, Transitions
from steepest.train import train

QUIET = ["callbacks=none", "logger=none", "threads=1", "dataset.val_episodes=2", "dataset.test_episodes=3"]
QUIET += ["validation.every=1.0"]
SMALL = ["task.num_steps=16", "batch.size=16", "dataset.num_envs=2", "task.epochs=2", "model.hidden=[8]"]
PPO = ["experiment=rl", *QUIET, *SMALL, "log.every=1"]
DQN = ["experiment=rl_dqn", *QUIET, "model.hidden=[8]", "task.learning_starts=40", "task.buffer_size=64"]
DQN += ["batch.size=8", "task.target_every=30", "log.every=1"]
PENDULUM = ["dataset=gymnasium", "dataset.id=Pendulum-v1"]


def assembled(*words):
    cfg = compose(list(words))
    settle(cfg)
    return assemble(cfg)


def run(*words):
    runs_dir = f"runs{len(list(Path().glob('runs*')))}"
    train(compose([*words, f"paths.runs_dir={runs_dir}"]))
    [path] = Path(runs_dir).glob("r*")
    return RunFolder(path)


def training(folder):
    return [row for row in folder.rows() if "train/loss" in row]


# Advantages.


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
def test_advantages_are_those_of_the_definition(T, N, gamma, lam, seed):
    r, V, V_next, terminated, truncated = rollout(T, N, seed)
    expected = np.zeros((T, N))
    for t, n in np.ndindex(T, N):
        for k in range(t, T):  # equation 16 of Schulman et al. 2016
            ahead = 0.0 if terminated[k, n] else V_next[k, n]
            expected[t, n] += (gamma * lam) ** (k - t) * (r[k, n] + gamma * ahead - V[k, n])
            if terminated[k, n] or truncated[k, n]:
                break
    found = advantages(r, V, V_next, terminated, truncated, gamma, lam)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    single = advantages(*(x.astype(np.float32) for x in (r, V, V_next)), terminated, truncated, gamma, lam)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_advantages_in_the_limits_of_lambda(lam):
    gamma, (r, V, V_next, terminated, truncated) = 0.9, rollout(20, 2, 1)
    found = advantages(r, V, V_next, terminated, truncated, gamma, lam)
    for n in range(2):
        ahead = V_next[-1, n]
        for t in range(19, -1, -1):
            if truncated[t, n] or lam == 0:
                ahead = V_next[t, n]
            if terminated[t, n]:
                ahead = 0.0
            ahead = r[t, n] + gamma * ahead  # all rewards of the episode to come, or one and what is foreseen
            assert found[t, n] == pytest.approx(ahead - V[t, n])


def rollout(T, N, seed):
    """Rewards, values, those of the next observations, and ends; within an episode the next value is the next value."""
    random = np.random.default_rng(seed)
    r, V, V_next = random.normal(size=(3, T, N))
    terminated, truncated = random.random((2, T, N)) < 0.2
    goes_on = ~(terminated | truncated)[:-1]
    V_next[:-1][goes_on] = V[1:][goes_on]
    return r, V, V_next, terminated, truncated


class Value(nn.Module):
    """Acts at random; a value that tells observations apart."""

    def policy(self, observations):
        return observations[:, :2] * 0.1 + self.zero

    def value(self, observations):
        return (observations * torch.tensor([3.0, -1.0, 7.0, 2.0])).sum(-1)

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))


@pytest.mark.parametrize("dataset", ["cartpole", "cartpole_vectorized"])
def test_an_episode_that_is_cut_off_goes_on_with_the_value_of_its_last_observation(dataset):
    words = [f"dataset={dataset}", "+dataset.options.max_episode_steps=5", "task.gae_lambda=1.0", "task.gamma=0.5"]
    task = assembled(*PPO, *words).task
    task.model = Value()
    task.collect()
    seen = task.rollout.observations.view(16, 2, 4)
    fleet, actions = task.data.fleet(), task.rollout.actions.view(16, 2).numpy()
    after = [fleet.step(action) for action in actions]
    assert not any(step.terminated.any() for step in after)
    for n in range(2):
        ahead = task.model.value(torch.from_numpy(fleet.observations))[n]
        for t in range(15, -1, -1):
            if t % 5 == 4:  # the observation before the reset, not the one after it, which is seen[t + 1]
                ahead = task.model.value(torch.from_numpy(after[t].successors))[n]
                assert not torch.equal(torch.from_numpy(after[t].successors[n]), seen[min(t + 1, 15), n])
            ahead = 1.0 + 0.5 * ahead
            assert float(task.rollout.returns.view(16, 2)[t, n]) == pytest.approx(float(ahead), rel=1e-5)
    assert task.counters.examples == 32
    assert task.train_means["episodic_return"].take() == 5.0


# Policies.


def test_actions_are_drawn_with_their_probabilities():
    policy, random = Categorical(Discrete(3, start=5)), np.random.default_rng(0)
    logits = np.log(np.array([[0.2, 0.5, 0.3]], np.float32))
    drawn = policy.act(np.repeat(logits, 20_000, 0), policy.noise(random, 20_000))
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [0.2, 0.5, 0.3], atol=0.015)
    assert policy.act(logits, None) == 1
    assert set(policy.for_environment(drawn)) == {5, 6, 7}
    gaussian = Gaussian(Box(-2.0, 2.0, (2,), np.float32))
    outputs = np.repeat(np.array([[1.0, -1.0, math.log(0.5), 0.0]], np.float32), 20_000, 0)
    drawn = gaussian.act(outputs, gaussian.noise(random, 20_000))
    np.testing.assert_allclose(drawn.mean(0), [1, -1], atol=0.03)
    np.testing.assert_allclose(drawn.std(0), [0.5, 1], rtol=0.03)
    assert gaussian.act(outputs[:1], None).tolist() == [[1.0, -1.0]]
    clipped = gaussian.for_environment(drawn)
    assert (clipped.min(), clipped.max(), clipped.dtype) == (-2.0, 2.0, np.float32)


def test_probabilities_are_those_of_torch():
    torch.manual_seed(0)
    outputs = torch.randn(50, 4, dtype=torch.float64)
    actions = torch.randint(4, (50,))
    twin = TorchCategorical(logits=outputs)
    found = Categorical(Discrete(4)).log_prob_and_entropy(outputs, actions)
    torch.testing.assert_close(found, (twin.log_prob(actions), twin.entropy()))
    actions = torch.randn(50, 2, dtype=torch.float64)
    twin = Independent(Normal(outputs[:, :2], outputs[:, 2:].exp()), 1)
    found = Gaussian(Box(-1.0, 1.0, (2,))).log_prob_and_entropy(outputs, actions)
    torch.testing.assert_close(found, (twin.log_prob(actions), twin.entropy()))


@pytest.mark.parametrize("policy", [Categorical(Discrete(4)), Gaussian(Box(-1.0, 1.0, (2,)))])
def test_the_divergence_is_0_and_its_curvature_the_fisher_matrix(policy):
    torch.manual_seed(0)
    outputs = torch.randn(1, 4, dtype=torch.float64, requires_grad=True)
    divergence = policy.divergence(outputs)
    assert float(divergence.detach()) == pytest.approx(0, abs=1e-12)
    assert torch.autograd.grad(divergence, outputs)[0].abs().max() < 1e-12
    found = torch.autograd.functional.hessian(policy.divergence, outputs.detach()).view(4, 4)
    x = outputs.detach()[0]
    if isinstance(policy, Categorical):
        p = x.softmax(-1)
        expected = p.diag() - torch.outer(p, p)
    else:
        expected = torch.cat([(-2 * x[2:]).exp(), torch.full((2,), 2.0, dtype=torch.float64)]).diag()
    # The held distribution moves with the outputs, and so must be held for the derivative.
    held = torch.autograd.functional.hessian(lambda y: moved(policy, outputs.detach(), y), outputs.detach()).view(4, 4)
    torch.testing.assert_close(held, expected)
    torch.testing.assert_close(found, expected)


def moved(policy, outputs, y):
    """KL(outputs || y) of torch's distributions."""
    if isinstance(policy, Categorical):
        return torch.distributions.kl_divergence(TorchCategorical(logits=outputs), TorchCategorical(logits=y)).mean()
    one, other = (Independent(Normal(x[:, :2], x[:, 2:].exp()), 1) for x in (outputs, y))
    return torch.distributions.kl_divergence(one, other).mean()


# PPO.


class Fixed(nn.Module):
    """The same outputs whatever is seen."""

    def __init__(self, policy, values):
        super().__init__()
        self.outputs, self.values = nn.Parameter(policy), nn.Parameter(values)

    def forward(self, observations):
        return self.outputs, self.values


def experience(p_old, A, returns, values):
    actions, log_probs = torch.zeros(3, dtype=torch.int64), torch.tensor(p_old).log()
    return Experience(torch.zeros(3, 4), actions, log_probs, *map(torch.tensor, (A, returns, values)))


def test_the_clipped_loss_by_hand():
    task = assembled(*PPO, "task.clip_ratio=0.2", "task.value_coefficient=0.5", "task.entropy_coefficient=0.1").task
    task.model = Fixed(torch.zeros(3, 2), torch.tensor([1.0, 2.0, 3.0]))
    batch = experience(p_old=[0.5, 0.25, 1.0], A=[1.0, 1.0, -2.0], returns=[0.0, 2.5, 5.0], values=[0.5, 1.0, 3.1])
    # Ratios 1, 2 and 0.5, clipped to 1, 1.2 and 0.8; a decrease of a bad action's probability counts up to 0.8.
    policy = -(1.0 + 1.2 - 2 * 0.8) / 3
    # Values clipped to 0.7, 1.2 and 3.0; the larger error counts.
    value = (max(1.0, 0.49) + max(0.25, 1.69) + max(4.0, 4.0)) / 3 / 2
    loss = task.loss(batch)
    assert float(loss.detach()) == pytest.approx(policy + 0.5 * value - 0.1 * math.log(2), rel=1e-6)
    means = {name: mean.take() for name, mean in task.train_means.items()}
    assert means["policy_loss"] == pytest.approx(policy)
    assert means["value_loss"] == pytest.approx(value)
    assert means["entropy"] == pytest.approx(math.log(2))
    assert means["clip_fraction"] == pytest.approx(2 / 3)
    assert means["approx_kl"] == pytest.approx(((2 - 1 - math.log(2)) + (0.5 - 1 + math.log(2))) / 3)
    loss.backward()
    # Of the three only the first ratio still pulls: at a ratio of 1 the gradient is A p'(a) / p(a).
    assert task.model.outputs.grad[1].abs().max() < 1e-7 > task.model.outputs.grad[2].abs().max()
    assert task.model.outputs.grad[0, 0] < -0.1 < 0.1 < task.model.outputs.grad[0, 1]
    task.clip_value = False
    value = (1.0 + 0.25 + 4.0) / 3 / 2
    assert float(task.loss(batch).detach()) == pytest.approx(policy + 0.5 * value - 0.1 * math.log(2), rel=1e-6)


def test_every_epoch_takes_every_step_of_a_rollout_once_and_each_in_another_order():
    task = assembled(*PPO, "task.normalise_advantages=false").task
    task.collect()
    epochs = [[task.next_minibatch() for _ in range(2)] for _ in range(2)]
    for epoch in epochs:
        assert [len(batch.actions) for batch in epoch] == [16, 16]
        for found, all_of_it in zip(zip(*epoch, strict=True), task.rollout, strict=True):
            assert torch.equal(torch.cat(found).flatten().sort().values, all_of_it.flatten().sort().values)
    assert not torch.equal(epochs[0][0].advantages, epochs[1][0].advantages)
    task.normalise_advantages, task.taken = True, 0
    again = task.next_minibatch()
    assert torch.equal(again.observations, epochs[0][0].observations)
    A = epochs[0][0].advantages
    torch.testing.assert_close(again.advantages, (A - A.mean()) / (A.std() + 1e-8))


def test_examples_are_steps_of_the_environments():
    parts = assembled(*PPO, "budget.examples=100")
    assert parts.total_steps == math.ceil(100 / 8)  # 2 x 16 steps for 2 epochs of 2 minibatches
    folder = run(*PPO, "budget.examples=100")
    rows = training(folder)
    assert [row["examples"] for row in rows] == [32] * 4 + [64] * 4 + [96] * 4 + [128]
    assert [row["opt_step"] for row in rows] == [row["grad_evals"] for row in rows] == list(range(1, 14))
    assert folder.summary["examples"] == 128
    assert [row["train/episodic_length"] for row in rows if "train/episodic_length" in row]
    assert {"train/approx_kl", "train/explained_variance", "train/policy_loss"} <= rows[0].keys()
    assert "train/explained_variance" not in rows[1]


def test_a_policy_that_went_too_far_learns_nothing_more_from_the_rollout():
    folder = run(*PPO, "task.target_kl=1e-9", "task.epochs=3", "budget.examples=null", "budget.steps=14")
    rows = training(folder)
    assert [row["grad_evals"] for row in rows] == [1, 2, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4, 5, 6]
    assert [row["examples"] for row in rows] == [32] * 6 + [64] * 6 + [96] * 2
    assert all(math.isfinite(row["train/loss"]) for row in rows)
    assert ["train/update_norm" in row for row in rows[:7]] == [True, True, False, False, False, False, True]


def test_micro_batches_give_the_step_of_the_whole_minibatch():
    whole, parts = (weights(run(*PPO, "budget.steps=6", *more)) for more in ([], ["batch.micro_size=4"]))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=1e-5)


def weights(folder):
    return torch.load(folder.checkpoint("last"), weights_only=True)["state_dict"]


# DQN.


@settings(deadline=None)
@given(st.integers(3, 9), st.lists(st.integers(1, 3), max_size=12))
def test_the_memory_holds_the_latest_transitions(capacity, sizes):
    replay, expected, random = Replay(capacity, (2,)), collections.deque(maxlen=capacity), np.random.default_rng(0)
    for size in sizes:
        new = Transitions(
            random.random((size, 2), np.float32),
            random.integers(9, size=size),
            random.random(size, np.float32),
            random.random((size, 2), np.float32),
            random.random(size) < 0.5,
        )
        replay.add(*new)
        expected.extend(float(x) for x in new.rewards)
    assert len(replay) == len(expected)
    if not sizes:
        return
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    again = Replay(capacity, (2,))
    again.load_state_dict(torch.load(file, weights_only=True))
    for memory in (replay, again):
        drawn = memory.draw(np.random.default_rng(1), 300)
        assert {float(x) for x in drawn.rewards} == set(expected)
        assert [x.dtype for x in drawn] == [torch.float32, torch.int64, torch.float32, torch.float32, torch.bool]
    one, other = (memory.draw(np.random.default_rng(2), 5) for memory in (replay, again))
    assert all(map(torch.equal, one, other))


class Table(nn.Module):
    """Q(s, a) = s w_a for the first number of an observation."""

    def __init__(self, *w):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w))

    def forward(self, observations):
        return observations[:, :1] * self.w


@pytest.mark.parametrize("double", [False, True])
def test_the_target_by_hand(double):
    task = assembled(*DQN, "task.gamma=0.5", f"task.double={double}", "task.criterion=huber").task
    task.model, task.target = Table(1.0, 3.0), [Table(10.0, -10.0)]
    task.learning_starts = 0
    s, s_next = (torch.tensor([[x, 0.0, 0, 0] for x in xs]) for xs in ([1.0, 1.0, 2.0], [2.0, 5.0, -1.0]))
    actions, rewards = torch.tensor([0, 1, 1]), torch.tensor([1.0, 1.0, 3.0])
    lesson = task.lesson(Transitions(s, actions, rewards, s_next, torch.tensor([False, True, False])))
    # Q' says 20 and -20 of the first s', -10 and 10 of the last; Q prefers action 1 there, and then action 0.
    expected = [1 + 0.5 * (-20.0 if double else 20.0), 1.0, 3 + 0.5 * (-10.0 if double else 10.0)]
    assert lesson.targets.tolist() == expected
    Q = [1.0, 3.0, 6.0]
    errors = [abs(q - y) for q, y in zip(Q, expected, strict=True)]
    huber = sum(e - 0.5 if e > 1 else e * e / 2 for e in errors) / 3
    assert float(task.loss(lesson).detach()) == pytest.approx(huber)
    task.criterion = "mse"
    assert float(task.loss(lesson).detach()) == pytest.approx(sum(e * e for e in errors) / 3)


def test_the_target_network_follows_in_its_rhythm():
    parts = assembled(*DQN, "task.target_rate=0.5")
    task = parts.task
    task.model, task.target = Table(1.0, 3.0), [Table(0.0, 0.0)]
    task.follow()
    assert task.target[0].w.tolist() == [0.5, 1.5]
    seen = []
    follow = type(task).follow
    task.follow = lambda: seen.append(task.counters.examples) or follow(task)
    task.optimizers = lambda: None
    step = "steepest.tasks.dqn.manual.step"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, lambda *args: torch.tensor(0.0))
        for _ in range(8):
            task.training_step(None, 0)
    # The first step comes with the 40 before learning starts; the target follows after every 30.
    assert task.counters.examples == 120
    assert seen == [50, 60, 90, 120]


def test_random_actions_become_rarer():
    parts = assembled(*DQN, "budget.examples=240", "task.start_epsilon=0.9", "task.exploration_fraction=0.5")
    task = parts.task
    assert parts.total_steps == 20  # 40 steps before, then 10 for each
    assert task.epsilon(0) == pytest.approx(0.9)
    assert task.epsilon(60) == pytest.approx(0.475)
    assert task.epsilon(120) == task.epsilon(10**9) == pytest.approx(0.05)
    assert assembled(*DQN, "task.exploration_fraction=0").task.epsilon(0) == pytest.approx(0.05)
    task.model = Table(0.0, 0.0)
    task.start_epsilon = task.end_epsilon = 0.0
    task.explore(30, np.random.default_rng(0))
    drawn = task.replay.draw(np.random.default_rng(0), 200)
    assert set(drawn.actions.tolist()) == {0}  # the first of equals
    assert drawn.terminated.any()
    after = drawn.successors[drawn.terminated]
    assert (after[:, 2].abs() > 0.2).all()  # where the pole fell, not where the next episode began


def test_steps_before_learning_count_as_examples():
    folder = run(*DQN, "budget.examples=100")
    assert [row["examples"] for row in training(folder)] == [50, 60, 70, 80, 90, 100]
    assert folder.summary["opt_steps"] == folder.summary["grad_evals"] == 6
    assert {"train/q", "train/epsilon"} <= training(folder)[0].keys()


# Both.

SCENARIOS = {
    "ppo": [*PPO, "budget.steps=14", "validation.every=6", "checkpoint.every_steps=3", "task.target_kl=0.0005"],
    "vectorized": [*PPO, "dataset=cartpole_vectorized", "budget.steps=10", "validation.every=6", "optimizer=lion"],
    "dqn": [*DQN, "budget.steps=12", "validation.every=5", "checkpoint.every_steps=3"],
    "double": [*DQN, "budget.steps=8", "validation.every=5", "optimizer=schedule_free_adamw", "precision=fp64"],
}
SCENARIOS["dqn"] += ["dataset=acrobot", "dataset.num_envs=2", "+dataset.options.max_episode_steps=25"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_killed_run_ends_as_one_that_was_left_alone(scenario):
    words = SCENARIOS[scenario]
    alone, moments = killed(words, runs_dir="alone")
    expected = content(alone)
    assert expected["status"] == "finished"
    folder, _ = killed(words, [moments // 2], runs_dir="killed")
    assert "\n".join(differences(expected, content(folder))) == ""


@pytest.mark.parametrize("words", [PPO, DQN])
def test_validation_changes_nothing(words):
    often, once = (run(*words, "budget.steps=7", f"validation.every={every}") for every in (1, 7))
    one, other = weights(often), weights(once)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert len([row for row in often.rows() if "val/return" in row]) == 7


def test_the_best_model_is_kept_without_what_a_run_goes_on_with():
    folder = run(*DQN, "budget.steps=2")
    last, best = (torch.load(folder.checkpoint(name), weights_only=True) for name in ("last", "best"))
    assert len(last["experience"]["replay"]["kept"][0]) == 60
    assert "experience" not in best
    assert all(name.startswith("model.") for name in last["state_dict"])


CLOSURE = ["clip.norm=null"]


@pytest.mark.parametrize(
    "words",
    [
        [*PPO, "optimizer=lbfgs", *CLOSURE],
        [*DQN, "optimizer=newton", *CLOSURE],
        [*PPO, "optimizer=kfac"],
        [*DQN, "optimizer=kfac", "task.double=true"],
        [*PPO, "precision=bf16_mixed"],
        [*DQN, "precision=bf16_true", "batch.micro_size=4"],
        [*PPO, "precision=fp64", "optimizer=muon", "routing=matrices"],
    ],
)
def test_optimizers_and_precisions(words):
    folder = run(*words, "budget.steps=3")
    assert folder.status["status"] == "finished"
    assert all(math.isfinite(row["train/loss"]) for row in training(folder))


def test_natural_gradient_knows_how_far_a_policy_moves():
    folder = run(*PPO, "budget.steps=4", "optimizer=natural_gradient", "clip.norm=null", "optimizer.kl_clip=1e-4")
    found = [row["train/approx_kl"] for row in training(folder)]
    assert all(kl < 1e-3 for kl in found)
    with pytest.raises(ConfigError, match="natural_gradient needs a model that gives probabilities, and task=dqn has"):
        assembled(*DQN, "optimizer=natural_gradient", "clip.norm=null")


def test_actions_that_are_numbers():
    folder = run(
        *PPO,
        *PENDULUM,
        "model=gaussian_actor_critic",
        "budget.steps=5",
        "dataset.val_episodes=1",
        "dataset.test_episodes=1",
    )
    assert folder.status["status"] == "finished"
    assert "model.log_std" in weights(folder)
    assert -2000 < folder.summary["metrics"]["test/return"] < 0


def test_a_run_folder_is_evaluated_and_its_episodes_written(capsys):
    folder = run(*PPO, "budget.steps=2")
    evaluate_command([str(folder.path)])
    assert f"test/return  {folder.summary['metrics']['test/return']:.6g}" in capsys.readouterr().out
    predict_command([str(folder.path), "--output", "episodes.csv"])
    lines = Path("episodes.csv").read_text().splitlines()
    assert lines[0] == "index,return,length"
    assert len(lines) == 4


def test_pictures_are_frames_of_an_episode(monkeypatch, caplog):
    task = assembled(*PPO).task
    frames = task.pictures()["episode"]
    assert 1 < len(frames) <= 200
    assert frames[0].shape == (400, 600, 3)
    assert frames[0].dtype == np.uint8
    monkeypatch.setitem(sys.modules, "pygame", None)
    with caplog.at_level(logging.WARNING, "steepest"):
        assert task.pictures() == {}
    assert "There are no pictures of the agent (pygame is not installed" in caplog.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["experiment=rl", "batch.size=100"],
            "batch.size=100 does not divide a rollout evenly, which is task.num_step",
        ),
        (["experiment=rl", "task.num_steps=0"], "task.num_steps=0 is not possible; allowed are whole numbers from 1."),
        (["experiment=rl", "task.epochs=0"], "task.epochs=0 is not possible; allowed are whole numbers from 1."),
        (["experiment=rl", "task.gamma=1.5"], "task.gamma=1.5 is not possible; allowed are numbers from 0 to 1."),
        (["experiment=rl", "task.gae_lambda=-1"], "task.gae_lambda=-1 is not possible; allowed are numbers from 0 to"),
        (["experiment=rl", "task.clip_ratio=0"], "task.clip_ratio=0 is not possible; allowed are numbers above 0."),
        (["experiment=rl", "task.value_coefficient=-1"], "task.value_coefficient=-1 is not possible; allowed are num"),
        (["experiment=rl", "task.entropy_coefficient=-1"], "task.entropy_coefficient=-1 is not possible; allowed are"),
        (["experiment=rl", "task.target_kl=0"], "task.target_kl=0 is not possible; allowed are null and numbers above"),
        (["experiment=rl", "task.evaluation=best"], "task.evaluation=best is not possible; allowed are sampled and gr"),
        (["experiment=rl", "dataset=digits"], "task=ppo needs action_space, which dataset=digits does not give"),
        (["experiment=rl", "model=q_network"], "task=ppo needs policy, which model=q_network does not give; allowed"),
        (["experiment=rl", "model=mlp"], "model=mlp needs input_shape, which neither"),
        (["experiment=rl", "model.hidden=[]"], "model.hidden=[] must be a list of one or more whole numbers"),
        (["experiment=rl", "optimizer=lbfgs"], "not possible with clip.norm=0.5; allowed is null."),
        (["experiment=rl", "trainer=ddp_cpu"], "trainer=ddp_cpu with task=ppo is not possible on 2 devices; allowed "),
        (
            ["experiment=rl_dqn", "dataset.num_envs=4"],
            "task.train_every=10 is no multiple of dataset.num_envs=4, which",
        ),
        (["experiment=rl_dqn", "task.train_every=0"], "task.train_every=0 is not possible; allowed are whole numbers "),
        (["experiment=rl_dqn", "task.learning_starts=-1"], "task.learning_starts=-1 is not possible; allowed are numb"),
        (["experiment=rl_dqn", "task.buffer_size=0"], "task.buffer_size=0 is not possible; allowed are whole numbers "),
        (["experiment=rl_dqn", "task.target_every=0"], "task.target_every=0 is not possible; allowed are whole number"),
        (["experiment=rl_dqn", "task.target_rate=0"], "task.target_rate=0 is not possible; allowed are numbers above "),
        (["experiment=rl_dqn", "task.start_epsilon=2"], "task.start_epsilon=2 is not possible; allowed are numbers fr"),
        (["experiment=rl_dqn", "task.criterion=l1"], "task.criterion=l1 is not possible; allowed are mse and huber."),
        (["experiment=rl_dqn", "model=actor_critic"], "model=actor_critic turns batches of 128 x 4 of dataset=cartpol"),
        (
            ["experiment=rl_dqn", *PENDULUM],
            "dataset.id=Pendulum-v1 has vectors of numbers as actions; allowed is task=ppo with model=gaussian_",
        ),
        (
            ["experiment=rl", *PENDULUM],
            "dataset.id=Pendulum-v1 has vectors of numbers as actions; allowed is task=ppo with model=gaussian_",
        ),
        (["experiment=rl", "model=gaussian_actor_critic"], "dataset.id=CartPole-v1 has 2 actions to choose from;"),
        (
            ["experiment=rl", *PENDULUM, "model=gaussian_actor_critic", "model.log_std=.inf"],
            "model.log_std=.inf is not possible",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(words, said):
    with pytest.raises(ConfigError) as caught:
        assembled(*words, "threads=1")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ppo_learns_to_balance():
    words = ["experiment=rl", *QUIET, "dataset=cartpole_vectorized", "dataset.num_envs=16", "task.num_steps=32"]
    folder = run(*words, "optimizer.lr=3e-3", "budget.examples=15000", "dataset.test_episodes=20")
    assert folder.summary["metrics"]["test/return"] > 100  # at random 22


def test_dqn_learns_to_balance():
    words = ["experiment=rl_dqn", *QUIET, "dataset.num_envs=1", "task.learning_starts=500", "task.target_every=100"]
    words += ["task.exploration_fraction=0.3", "optimizer.lr=2e-3", "dataset.test_episodes=20"]
    folder = run(*words, "budget.examples=6000")
    assert folder.summary["metrics"]["test/return"] > 60
