"""An environment that is saved as the way to where it stands."""

from typing import Any

import gymnasium
import numpy as np
import torch

from steepest.errors import ConfigError


class Replayable(gymnasium.Wrapper):
    """Remembers how its episode began and what was done since; loaded, it begins so again and does the same.

    Gymnasium has no way to save an environment, and a pickle would run code when it is loaded. This holds for every
    environment whose chance comes from its `np_random` alone. It costs an action a step, and as many steps at a resume
    as the episode has.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.start: dict[str, Any] = {}
        """Before the last reset: the seed that was given, else the state of the random numbers."""
        self.actions: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As `gymnasium.Env.reset`."""
        if seed is None:
            self.start = {"random": self.unwrapped.np_random.bit_generator.state}
        else:
            self.start = {"seed": seed}
        self.actions = []
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As `gymnasium.Env.step`."""
        self.actions.append(action)
        return self.env.step(action)

    def state_dict(self) -> dict[str, Any]:
        """The beginning of the episode, and its actions [steps, ...]."""
        return {"start": self.start, "actions": torch.from_numpy(np.array(self.actions))}

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Play a saved episode up to where it stood.

        Returns:
            The observation there.

        Raises:
            ConfigError: it comes to its end before.
        """
        start, actions = state["start"], state["actions"].numpy()
        if "random" in start:
            self.unwrapped.np_random.bit_generator.state = start["random"]
        observation, _ = self.reset(seed=start.get("seed"))
        self.start = start
        for done, action in enumerate(actions, 1):
            observation, _, terminated, truncated, _ = self.step(action)
            if terminated or truncated:
                raise unlike(f"its episode ended after {done:,} steps and not after {len(actions):,}")
        return observation


def unlike(difference: str) -> ConfigError:
    """What to say of an environment that goes another way the second time."""
    return ConfigError(
        f"The environment of the checkpoint cannot be found again ({difference}): its chance comes from elsewhere than "
        "its np_random; allowed is to begin anew with force=true."
    )
