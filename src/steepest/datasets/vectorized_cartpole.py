"""Many CartPoles as a few arrays."""

from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode


class VectorizedCartPole(CartPoleVectorEnv):
    """Gymnasium's vectorised CartPole, with a new episode in the step that ends one.

    Gymnasium's own begins it a step later, and that step is no transition: its action does nothing.
    """

    state: Any
    metadata = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """As `gymnasium.vector.VectorEnv.step`: `final_obs` has the observations before a reset."""
        observations, rewards, terminated, truncated, info = super().step(action)
        ended = self.prev_done
        if ended.any():
            info = {"final_obs": observations, "_final_obs": ended}
            self.state[:, ended] = self.np_random.uniform(self.low, self.high, (4, ended.sum()))
            self.steps[ended] = 0
            self.prev_done = np.zeros_like(ended)
            observations = self.state.T.astype(np.float32)
        return observations, rewards, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Positions and speeds float64 [4, N], steps [N], random numbers."""
        return {
            "state": torch.from_numpy(self.state.copy()),
            "steps": torch.from_numpy(self.steps.copy()),
            "random": self.np_random.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> np.ndarray:
        """Go on from there.

        Returns:
            The observations float32 [N, 4].
        """
        self.reset(seed=0)
        self.state, self.steps = state["state"].numpy().copy(), state["steps"].numpy().copy()
        self.np_random.bit_generator.state = state["random"]
        return self.state.T.astype(np.float32)
