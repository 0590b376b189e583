"""Deep Q-learning: an agent that learns from what it remembers."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from steepest.batch import BatchPlan
from steepest.datasets.episodes import Act
from steepest.datasets.fleet import Fleet
from steepest.errors import ConfigError
from steepest.schedules.schedule import Schedule
from steepest.tasks import closures, manual
from steepest.tasks.agents import ACT, EVALUATE, film, like, note_episodes, publish
from steepest.tasks.counters import Counters, RunningMean
from steepest.tasks.policies import as_array
from steepest.tasks.quick import QuickHooks
from steepest.tasks.rehearsal import outputs, require_shape
from steepest.tasks.replay import Replay, Transitions
from steepest.tasks.values import at_least_float, require

CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "huber": F.smooth_l1_loss}


class Lesson(NamedTuple):
    """What the network should say of actions that were taken."""

    observations: Tensor
    """[B, ...]"""
    actions: Tensor
    """int64 [B]"""
    targets: Tensor
    """y [B]"""


class DQN(QuickHooks, pl.LightningModule):
    """Acts, remembers, and learns from what it remembers; the headline is the return of whole episodes.

    Mnih et al. 2015, Nature 518, 529-533, algorithm 1; `double` is van Hasselt et al. 2016, arXiv:1509.06461, eq. 4:

        y = r + gamma max_a Q'(s', a)                    y = r where the episode came to its end
        y = r + gamma Q'(s', argmax_a Q(s', a))          double
        loss = mean c(Q(s, a) - y),                      c(e) = e^2, or Huber's

    Q' is Q as it was up to `target_every` steps ago. The defaults are CleanRL's (Huang et al. 2022, JMLR 23(274)).

    Before an optimizer step the environments take `train_every` steps, before the first one `learning_starts` more.
    Examples are steps of the environments.

    Args:
        model: Q, from observations [B, ...] to a value for each action [B, num_actions].
        optimizer: makes the optimizer of a module.
        schedule: gives the learning rate's factor at each step.
        total_steps: optimizer steps that the schedule spans.
        plan: the batch of one step.
        data: the environments.
        clip: arguments of `clip_gradients`.
        gamma: discount of a reward that comes a step later.
        buffer_size: transitions that are remembered, the latest ones; checkpoints hold them, too.
        learning_starts: steps of the environments before anything is learnt.
        train_every: steps of the environments for an optimizer step.
        target_every: steps of the environments after which Q' follows.
        target_rate: how far it then goes, 1 is all the way.
        start_epsilon, end_epsilon: share of random actions at first and in the end; it changes linearly ...
        exploration_fraction: ... in this part of all steps of the environments.
        criterion: c, mse or huber.
        double: whether Q chooses the action that Q' judges.
        evaluation_epsilon: share of random actions in validation and test.

    Raises:
        ConfigError: a value out of its range.
    """

    headline = ("val/return", "max")
    needs: ClassVar[dict[str, tuple[str, ...]]] = {"dataset": ("action_space", "num_actions")}
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
        gamma: float = 0.99,
        buffer_size: int = 10000,
        learning_starts: int = 10000,
        train_every: int = 10,
        target_every: int = 500,
        target_rate: float = 1.0,
        start_epsilon: float = 1.0,
        end_epsilon: float = 0.05,
        exploration_fraction: float = 0.5,
        criterion: str = "mse",
        double: bool = False,
        evaluation_epsilon: float = 0.0,
    ) -> None:
        super().__init__()
        rhythm(learning_starts, train_every, data)
        require(0 <= gamma <= 1, "gamma", gamma, "numbers from 0 to 1")
        require(buffer_size >= data.num_envs, "buffer_size", buffer_size, f"whole numbers from {data.num_envs}")
        require(target_every >= 1, "target_every", target_every, "whole numbers from 1")
        require(0 < target_rate <= 1, "target_rate", target_rate, "numbers above 0, up to 1")
        epsilons = {"start_epsilon": start_epsilon, "end_epsilon": end_epsilon}
        for key, value in {**epsilons, "evaluation_epsilon": evaluation_epsilon}.items():
            require(0 <= value <= 1, key, value, "numbers from 0 to 1")
        require(0 <= exploration_fraction <= 1, "exploration_fraction", exploration_fraction, "numbers from 0 to 1")
        require(criterion in CRITERIA, "criterion", criterion, " and ".join(CRITERIA))
        self.model: Any = model
        self.optimizer, self.schedule = optimizer, schedule
        self.total_steps, self.plan, self.data, self.clip = total_steps, plan, data, clip
        self.gamma, self.criterion, self.doubles = gamma, criterion, double
        self.learning_starts, self.train_every = learning_starts, train_every
        self.target_every, self.target_rate = target_every, target_rate
        self.start_epsilon, self.end_epsilon = start_epsilon, end_epsilon
        self.exploration_steps = exploration_fraction * (learning_starts + total_steps * train_every)
        self.evaluation_epsilon = evaluation_epsilon
        self.automatic_optimization = False
        self.counters = Counters()
        self.keeps_batch = False
        self.batch: Any = None
        self.train_loss = RunningMean()
        self.train_means = {name: RunningMean() for name in ("episodic_return", "episodic_length", "q", "epsilon")}
        self.fleet: Fleet | None = None
        self.replay = Replay(buffer_size, data.observation_shape)
        self.target: list[Any] = []
        """Q', in a list: it is no part of the task, whose parameters are those that are trained."""
        self._loaded_target: dict[str, Tensor] | None = None

    @staticmethod
    def examples_per_step(node: Any, plan: BatchPlan, data: Any) -> float:
        """Steps of the environments for each optimizer step."""
        train_every = node.get("train_every", 10)
        rhythm(node.get("learning_starts", 10000), train_every, data)
        return float(train_every)

    @staticmethod
    def examples_before(node: Any) -> int:
        """Steps of the environments before those of the first optimizer step."""
        return int(node.get("learning_starts", 10000))

    def rehearse(self, batch: tuple[Tensor]) -> None:
        """Send a batch's shapes through the model.

        Raises:
            WrongOutputs: it does not give a value for each action.
        """
        [observations] = batch
        shape = (len(observations), self.data.num_actions)
        require_shape(outputs(self.model, observations), shape, "a value for each action")

    def on_train_start(self) -> None:
        """Lets Q' be Q, or what it was."""
        self.target = [copy.deepcopy(self.model).requires_grad_(False)]
        if self._loaded_target is not None:
            self.target[0].load_state_dict(self._loaded_target)
            self._loaded_target = None

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Some steps of the environments, and one of the optimizer."""
        random = self.data.random(ACT, self.data.seed, self.counters.opt_step)
        before = self.counters.examples
        self.explore(self.train_every + (0 if before else self.learning_starts), random)
        lesson = self.lesson(self.replay.draw(random, self.plan.size))
        parts = zip(*(x.split(self.plan.micro_size) for x in lesson), strict=True)
        losses = [partial(self.loss, Lesson(*part)) for part in parts]
        self.train_loss.add(manual.step(self, self.optimizers(), losses, self.model.parameters()))
        self.counters.opt_step += 1
        if before // self.target_every < self.counters.examples // self.target_every:
            self.follow()

    @torch.no_grad()
    def explore(self, count: int, random: np.random.Generator) -> None:
        """Let the agent act for so many steps of the environments, at times at random, and remember it."""
        fleet = self.fleet = self.fleet or self.data.fleet()
        first, N, parameter = int(self.data.action_space.start), len(fleet), next(self.model.parameters())
        anything, chance = random.integers(self.data.num_actions, size=(count // N, N)), random.random((count // N, N))
        for actions, draw in zip(anything, chance, strict=True):
            epsilon, observations = self.epsilon(self.counters.examples), fleet.observations.copy()
            if (chooses := draw >= epsilon).any():
                actions[chooses] = as_array(self.model(like(parameter, observations[chooses]))).argmax(-1)
            step = fleet.step(actions + first)
            self.replay.add(observations, actions, step.rewards, step.successors, step.terminated)
            self.counters.examples += N
        self.train_means["epsilon"].add(torch.tensor(epsilon))
        note_episodes(self)

    def epsilon(self, step: int) -> float:
        """The share of random actions at a step of the environments."""
        done = min(1.0, step / self.exploration_steps) if self.exploration_steps else 1.0
        return self.start_epsilon + (self.end_epsilon - self.start_epsilon) * done

    @torch.no_grad()
    def lesson(self, batch: Transitions) -> Lesson:
        """The formula of y, for transitions on the CPU."""
        parameter = next(self.model.parameters())
        observations, successors = (x.to(parameter.device, parameter.dtype) for x in (batch[0], batch.successors))
        actions, r, ends = (x.to(parameter.device) for x in (batch.actions, batch.rewards, batch.terminated))
        target = at_least_float(self.target[0](successors))
        chosen = (self.model(successors) if self.doubles else target).argmax(1, keepdim=True)
        return Lesson(observations, actions, r + self.gamma * target.gather(1, chosen)[:, 0] * ~ends)

    def loss(self, batch: Lesson) -> Tensor:
        """The formula of the loss: a scalar with its graph."""
        Q = at_least_float(self.model(batch.observations)).gather(1, batch.actions[:, None])[:, 0]
        self.train_means["q"].add(Q.detach().mean())
        return CRITERIA[self.criterion](Q, batch.targets)

    @torch.no_grad()
    def follow(self) -> None:
        """Let Q' go after Q."""
        for behind, ahead in zip(self.target[0].parameters(), self.model.parameters(), strict=True):
            behind.lerp_(ahead, self.target_rate)
        for behind, ahead in zip(self.target[0].buffers(), self.model.buffers(), strict=True):
            behind.copy_(ahead)

    @torch.inference_mode()
    def _act(self, random: np.random.Generator, observations: np.ndarray) -> np.ndarray:
        actions = as_array(self.model(like(next(self.model.parameters()), observations))).argmax(-1)
        if self.evaluation_epsilon:
            anywhere = random.random(len(actions)) < self.evaluation_epsilon
            actions[anywhere] = random.integers(self.data.num_actions, size=anywhere.sum())
        return actions + int(self.data.action_space.start)

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
        """Keeps what was spent; of a run that will go on also the environments, the memory and Q'."""
        checkpoint["counters"] = self.counters.state_dict()
        if self.fleet is not None and "optimizer_states" in checkpoint:
            target = self.target[0].state_dict()
            checkpoint["experience"] = {
                "fleet": self.fleet.state_dict(),
                "replay": self.replay.state_dict(),
                "target": target,
            }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on from there."""
        self.counters.load_state_dict(checkpoint["counters"])
        if kept := checkpoint.get("experience"):
            self._loaded_target = kept["target"]
            self.replay.load_state_dict(kept["replay"])
            self.fleet = self.data.fleet()
            self.fleet.load_state_dict(kept["fleet"])

    def teardown(self, stage: str) -> None:
        """Frees what the environments hold."""
        if self.fleet is not None:
            self.fleet.close()
            self.fleet = None


def rhythm(learning_starts: Any, train_every: Any, data: Any) -> None:
    """Check how many steps of the environments come before and between optimizer steps.

    Raises:
        ConfigError: they are out of range, or no multiple of the environments, which all step at once.
    """
    require(type(learning_starts) is int and learning_starts >= 0, "learning_starts", learning_starts, "numbers from 0")
    require(type(train_every) is int and train_every >= 1, "train_every", train_every, "whole numbers from 1")
    for key, value in (("learning_starts", learning_starts), ("train_every", train_every)):
        if value % data.num_envs:
            raise ConfigError(
                f"task.{key}={value} is no multiple of dataset.num_envs={data.num_envs}, which step together; allowed "
                f"are multiples of {data.num_envs}."
            )
