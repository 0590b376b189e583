"""Proximal policy optimisation: an agent that learns from what it has just done."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.batch import BatchPlan
from steepest.datasets.episodes import Act
from steepest.datasets.fleet import Fleet
from steepest.errors import ConfigError
from steepest.schedules.schedule import Schedule
from steepest.tasks import closures, manual
from steepest.tasks.advantages import advantages
from steepest.tasks.agents import ACT, EVALUATE, SHUFFLE, film, like, note_episodes, publish
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.policies import as_array, policy_of
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape
from steepest.tasks.values import at_least_float, require

MEANS = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "explained_variance")


class Experience(NamedTuple):
    """Steps of the environments, as the policy that took them saw them."""

    observations: Tensor
    """[B, ...]"""
    actions: Tensor
    """[B] or [B, size]"""
    log_probs: Tensor
    """[B], of the actions"""
    advantages: Tensor
    """[B]"""
    returns: Tensor
    """[B], advantages + values: what the value network should say"""
    values: Tensor
    """[B], what it said"""


class PPO(QuickHooks, pl.LightningModule):
    """Collects a rollout, learns from it for some epochs, and so on; the headline is the return of whole episodes.

    Schulman et al. 2017, arXiv:1707.06347, equations 7, 9 and 11, with the sign of a loss:

        r = p(a|s) / p_old(a|s)
        loss = - mean min(r A, clip(r, 1 - c, 1 + c) A) + c_v L_V - c_e H
        L_V = mean max((V - R)^2, (V_old + clip(V - V_old, -c, c) - R)^2) / 2        without clip_value (V - R)^2 / 2

    A are the advantages (`advantages`), R = A + V_old, H is the mean entropy. The defaults are CleanRL's (Huang et al.
    2022, JMLR 23(274); "The 37 implementation details of PPO").

    An optimizer step takes the next minibatch of `batch.size` steps; before the first one of a rollout that rollout is
    collected. Examples are steps of the environments.

    Args:
        model: has `policy`, from observations [B, ...] to what describes the distribution of actions, and `value`, to
            [B]; called, it gives both.
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: the environments.
        clip: arguments of `clip_gradients`.
        num_steps: of each environment in a rollout.
        epochs: how often each step of a rollout is learnt from.
        gamma: discount of a reward that comes a step later.
        gae_lambda: weight of what the value network does not foresee, per step ahead.
        clip_ratio: c.
        clip_value: whether L_V is clipped.
        value_coefficient: c_v.
        entropy_coefficient: c_e.
        normalise_advantages: in each minibatch, to mean 0 and standard deviation 1.
        target_kl: after an epoch whose last minibatch has an approx_kl above this, nothing more is learnt from the
            rollout: its remaining optimizer steps are counted but empty, since schedule and budget go by the steps of
            the environments. null: never.
        evaluation: sampled or greedy actions in validation and test.

    Raises:
        ConfigError: a value out of its range, or a batch that does not divide the rollout.
    """

    headline = ("val/return", "max")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"dataset": ("action_space",), "model": ("policy", "value")}
    one_device = True

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[[nn.Module], Optimizer],
        schedule: Schedule,
        total_steps: int,
        plan: BatchPlan,
        data: Any,
        clip: dict[str, Any],
        num_steps: int = 128,
        epochs: int = 4,
        gamma: float = 0.99,
        gae_lambda: float = 0.95,
        clip_ratio: float = 0.2,
        clip_value: bool = True,
        value_coefficient: float = 0.5,
        entropy_coefficient: float = 0.01,
        normalise_advantages: bool = True,
        target_kl: float | None = None,
        evaluation: str = "sampled",
    ) -> None:
        super().__init__()
        require(0 <= gamma <= 1, "gamma", gamma, "numbers from 0 to 1")
        require(0 <= gae_lambda <= 1, "gae_lambda", gae_lambda, "numbers from 0 to 1")
        require(0 < clip_ratio < math.inf, "clip_ratio", clip_ratio, "numbers above 0")
        require(0 <= value_coefficient < math.inf, "value_coefficient", value_coefficient, "numbers from 0")
        require(0 <= entropy_coefficient < math.inf, "entropy_coefficient", entropy_coefficient, "numbers from 0")
        require(target_kl is None or 0 < target_kl < math.inf, "target_kl", target_kl, "null and numbers above 0")
        require(evaluation in ("sampled", "greedy"), "evaluation", evaluation, "sampled and greedy")
        self.minibatches = minibatches(num_steps, epochs, plan, data)
        self.model: Any = model
        self.optimizer, self.schedule = optimizer, schedule
        self.total_steps, self.plan, self.data, self.clip = total_steps, plan, data, clip
        self.num_steps, self.epochs, self.gamma, self.gae_lambda = num_steps, epochs, gamma, gae_lambda
        self.clip_ratio, self.clip_value = clip_ratio, clip_value
        self.value_coefficient, self.entropy_coefficient = value_coefficient, entropy_coefficient
        self.normalise_advantages, self.target_kl, self.evaluation = normalise_advantages, target_kl, evaluation
        self.automatic_optimization = False
        self.policy = policy_of(data.action_space)
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: Any = None
        self.train_loss = RunningMean()
        self.train_means = {name: RunningMean() for name in ("episodic_return", "episodic_length", *MEANS)}
        self.fleet: Fleet | None = None
        self.rollout: Experience | None = None
        self.shuffled: list[Experience] = []
        """The minibatches of the present epoch."""
        self.rollouts = 0
        """Collected so far."""
        self.taken = 0
        """Minibatches of the rollout that were learnt from."""
        self.far = False
        """Whether the policy has gone as far from the rollout's as target_kl allows."""
        self.approx_kl = torch.tensor(0.0)

    @staticmethod
    def examples_per_step(node: Any, plan: BatchPlan, data: Any) -> float:
        """Steps of the environments for each optimizer step."""
        num_steps, epochs = node.get("num_steps", 128), node.get("epochs", 4)
        return num_steps * data.num_envs / (epochs * minibatches(num_steps, epochs, plan, data))

    def rehearse(self, batch: tuple[Tensor]) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: it does not give what the policy needs, or not a value for each observation.
        """
        [observations] = batch
        policy, values = outputs(self.model, observations)
        require_shape(policy, (len(observations), self.policy.num_outputs), self.policy.meaning)
        require_shape(values, (len(observations),), "a value for each observation")

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One optimizer step, and a rollout before it where all of the last one was learnt from."""
        if self.rollout is None or self.taken == self.epochs * self.minibatches:
            self.collect()
        minibatch = self.next_minibatch()
        if self.far:
            with torch.no_grad():
                loss = self.loss(minibatch)
        else:
            parts = zip(*(x.split(self.plan.micro_size) for x in minibatch), strict=True)
            losses = [partial(self.loss, Experience(*part)) for part in parts]
            divergence = partial(self.loss_and_divergence, minibatch)
            loss = manual.step(self, self.optimizers(), losses, self.model.parameters(), divergence)
        if self.target_kl is not None and self.taken % self.minibatches == 0:
            self.far = self.far or self.approx_kl.item() > self.target_kl
        self.train_loss.add(loss)
        self.counters.opt_step += 1

    @torch.no_grad()
    def collect(self) -> None:
        """Let the policy act in the environments, and work out what its actions were worth."""
        fleet = self.fleet = self.fleet or self.data.fleet()
        T, N, parameter = self.num_steps, len(fleet), next(self.model.parameters())
        noise = self.policy.noise(self.data.random(ACT, self.data.seed, self.rollouts), T, N)
        observations = np.empty((T + 1, *fleet.observations.shape), np.float32)
        rewards, terminated, truncated = np.empty((T, N), np.float32), np.empty((T, N), bool), np.empty((T, N), bool)
        actions, last = [], []
        for t in range(T):
            observations[t] = fleet.observations
            actions.append(self.policy.act(as_array(self.model.policy(like(parameter, observations[t]))), noise[t]))
            rewards[t], terminated[t], truncated[t], successors = fleet.step(self.policy.for_environment(actions[t]))
            last.append(successors[truncated[t]])
        observations[T] = fleet.observations
        self.counters.examples += T * N
        note_episodes(self)

        # Values and probabilities of the whole rollout at once.
        seen = like(parameter, observations).flatten(0, 1)
        values = as_array(self.model.value(seen)).reshape(T + 1, N)
        next_values = values[1:].copy()
        if truncated.any():
            next_values[truncated] = as_array(self.model.value(like(parameter, np.concatenate(last))))
        A = advantages(rewards, values[:-1], next_values, terminated, truncated, self.gamma, self.gae_lambda)
        taken = torch.from_numpy(np.stack(actions)).flatten(0, 1).to(parameter.device)
        log_probs, _ = self.policy.log_prob_and_entropy(at_least_float(self.model.policy(seen[: T * N])), taken)
        numbers = [torch.from_numpy(x).flatten().to(parameter.device) for x in (A, A + values[:-1], values[:-1])]
        self.rollout = Experience(seen[: T * N], taken, log_probs, *numbers)
        self.rollouts, self.taken, self.far = self.rollouts + 1, 0, False
        if (spread := (A + values[:-1]).var()) > 0:
            self.train_means["explained_variance"].add(torch.tensor(1 - A.var() / spread))

    def next_minibatch(self) -> Experience:
        """The next `batch.size` steps of the rollout, which every epoch takes in another order."""
        epoch, number = divmod(self.taken, self.minibatches)
        if not self.shuffled or number == 0:
            self.shuffled = self.shuffle(epoch)
        self.taken += 1
        return self.shuffled[number]

    def shuffle(self, epoch: int) -> list[Experience]:
        """The minibatches of an epoch, a function of the rollout and the epoch's number."""
        assert self.rollout is not None
        random = self.data.random(SHUFFLE, self.data.seed, self.rollouts, epoch)
        order = torch.from_numpy(random.permutation(len(self.rollout.actions))).to(self.device)
        shuffled = Experience(*(x.to(self.device)[order] for x in self.rollout))
        if self.normalise_advantages and self.plan.size > 1:
            A = shuffled.advantages.view(self.minibatches, self.plan.size)
            A = (A - A.mean(1, keepdim=True)) / (A.std(1, keepdim=True) + 1e-8)
            shuffled = shuffled._replace(advantages=A.flatten())
        return [Experience(*x) for x in zip(*(x.split(self.plan.size) for x in shuffled), strict=True)]

    def loss(self, batch: Experience) -> Tensor:
        """The loss of a minibatch: a scalar with its graph. What it is made of goes into the rows of training."""
        return self._loss(batch, *self.model(batch.observations))

    def loss_and_divergence(self, batch: Experience) -> tuple[Tensor, Tensor]:
        """The loss, and the mean divergence from the present policy and values: scalars with their graph.

        A value is taken for the mean of a normal distribution with variance 1 (Wu et al. 2017, arXiv:1708.05144,
        section 3.1).
        """
        policy, values = self.model(batch.observations)
        distance = (at_least_float(values) - at_least_float(values).detach()).square().mean() / 2
        return self._loss(batch, policy, values), self.policy.divergence(at_least_float(policy)) + distance

    def _loss(self, batch: Experience, policy: Tensor, values: Tensor) -> Tensor:
        """The formula."""
        c, V, V_old, R, A = self.clip_ratio, at_least_float(values), batch.values, batch.returns, batch.advantages
        log_probs, entropy = self.policy.log_prob_and_entropy(at_least_float(policy), batch.actions)
        log_r = log_probs - batch.log_probs
        r = log_r.exp()
        policy_loss = -torch.min(r * A, r.clamp(1 - c, 1 + c) * A).mean()
        error = (V - R).square()
        if self.clip_value:
            error = torch.max(error, (V_old + (V - V_old).clamp(-c, c) - R).square())
        value_loss, H = error.mean() / 2, entropy.mean()
        loss = policy_loss + self.value_coefficient * value_loss - self.entropy_coefficient * H
        with torch.no_grad():
            self.approx_kl = (r - 1 - log_r).mean()  # Schulman 2020, "Approximating KL divergence"
            clipped = ((r - 1).abs() > c).float().mean()
            for name, x in zip(MEANS, (policy_loss, value_loss, H, self.approx_kl, clipped), strict=False):
                self.train_means[name].add(x.detach())
        return loss

    @torch.inference_mode()
    def _act(self, random: np.random.Generator, observations: np.ndarray) -> np.ndarray:
        found = as_array(self.model.policy(like(next(self.model.parameters()), observations)))
        noise = self.policy.noise(random, len(observations)) if self.evaluation == "sampled" else None
        return self.policy.for_environment(self.policy.act(found, noise))

    def agent(self) -> Act:
        """What acts in validation and test; its random numbers are the same each time."""
        return partial(self._act, self.data.random(EVALUATE, self.data.eval_seed))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Plays the episodes of validation."""
        publish(self, "val")

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Plays the episodes of the test."""
        publish(self, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Tensor]:
        """Return and length of each episode of the test."""
        episodes = self.data.play("test", self.agent())
        return {"return": torch.from_numpy(episodes.returns), "length": torch.from_numpy(episodes.lengths)}

    def pictures(self) -> dict[str, Any]:
        """Frames of an episode of the test."""
        return film(self)

    def configure_optimizers(self) -> Optimizer:
        """The optimizer alone; the schedule is a function of the step."""
        optimizer = self.optimizer(self.model)
        self.keeps_batch = closures.evaluates_loss(optimizer)
        return optimizer

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps what was spent; of a run that will go on also the environments and the rollout."""
        checkpoint["counters"] = self.counters.state_dict()
        if self.fleet is not None and "optimizer_states" in checkpoint:
            place = {"rollouts": self.rollouts, "taken": self.taken, "far": self.far}
            rollout = None if self.rollout is None else list(self.rollout)
            checkpoint["experience"] = {**place, "rollout": rollout, "fleet": self.fleet.state_dict()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on from there."""
        self.counters.load_state_dict(checkpoint["counters"])
        if kept := checkpoint.get("experience"):
            self.rollouts, self.taken, self.far = kept["rollouts"], kept["taken"], kept["far"]
            self.rollout = None if kept["rollout"] is None else Experience(*kept["rollout"])
            self.shuffled = []
            self.fleet = self.data.fleet()
            self.fleet.load_state_dict(kept["fleet"])

    def teardown(self, stage: str) -> None:
        """Frees what the environments hold."""
        if self.fleet is not None:
            self.fleet.close()
            self.fleet = None


def minibatches(num_steps: Any, epochs: Any, plan: BatchPlan, data: Any) -> int:
    """Minibatches in an epoch over a rollout.

    Raises:
        ConfigError: a value out of its range, or a batch that does not divide the rollout.
    """
    for key, value in (("num_steps", num_steps), ("epochs", epochs)):
        require(type(value) is int and value >= 1, key, value, "whole numbers from 1")
    steps = num_steps * data.num_envs
    if steps % plan.size:
        raise ConfigError(
            f"batch.size={plan.size} does not divide a rollout evenly, which is task.num_steps={num_steps} of "
            f"dataset.num_envs={data.num_envs} environments; allowed are the divisors of {steps}."
        )
    return steps // plan.size
