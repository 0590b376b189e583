"""How much better actions were than expected."""

import numpy as np


def advantages(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> np.ndarray:
    """Generalised advantage estimation. Schulman et al. 2016, arXiv:1506.02438, equations 11 to 16.

        delta_t = r_t + gamma V(s_{t+1}) - V(s_t)        V = 0 after the end of an episode
        A_t = delta_t + gamma lambda A_{t+1}             A = 0 after an episode

    An episode that is cut off has a state to go on from, which its last step is compared with: V(s_{t+1}) is that of
    the observation before the reset (Pardo et al. 2018, arXiv:1712.00378).

    Args:
        rewards: r [T, N], of T steps of N environments.
        values: V(s_t) [T, N].
        next_values: V(s_{t+1}) [T, N], of the observations that the actions led to.
        terminated: [T, N], bool: the episode came to its end with this step.
        truncated: [T, N], bool: it was cut off after this step.
        gamma: of the discount, from 0 to 1.
        gae_lambda: from 0 (delta_t alone) to 1 (all rewards of the episode, less V(s_t)).

    Returns:
        A [T, N].
    """
    delta = rewards + gamma * next_values * ~terminated - values
    decay = np.asarray(gamma * gae_lambda, delta.dtype) * ~(terminated | truncated)
    found = np.empty_like(delta)
    ahead = np.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        found[t] = ahead = delta[t] + decay[t] * ahead
    return found
