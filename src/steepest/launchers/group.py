"""The machines that a run spreads over, and this one's place among them, as SLURM tells it."""

import os
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from steepest.errors import ConfigError
from steepest.runs.folder import RunFolder

WAIT_S = 120.0
"""Seconds that a node waits for the first one to begin; before, each of them has read its data."""

PORTS = range(15_000, 32_000)
"""Where the ranks of several nodes meet: below the ports that systems give away."""


@dataclass(frozen=True)
class Group:
    """A run's machines.

    Args:
        nodes: how many.
        node: which of them this one is; the first one, 0, holds the run folder.
        address: of the first one.
        port: where its first rank waits for the others.
        step: what SLURM started this in: job, restart and step; None on one machine.
    """

    nodes: int
    node: int
    address: str
    port: int
    step: str | None = None

    def environment(self, local_rank: int, ranks: int) -> dict[str, str]:
        """The variables that tell a rank its place, among `ranks` on each node."""
        return {
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
            "WORLD_SIZE": str(self.nodes * ranks),
            "NODE_RANK": str(self.node),
            "LOCAL_RANK": str(local_rank),
            "RANK": str(self.node * ranks + local_rank),
        }

    def log(self, folder: RunFolder) -> Path:
        """Where this node's ranks write; each node has a file of its own, since network file systems mix lines."""
        return folder.log_file.with_name(f"log-node{self.node}.txt") if self.node else folder.log_file

    def wait_for_first(self, folder: RunFolder, seconds: float = WAIT_S) -> None:
        """Return when the first node has begun, in the same step as this one.

        Raises:
            ConfigError: it has not in time.
        """
        end = time.monotonic() + seconds
        while (status := folder.status).get("status") != "running" or status.get("slurm_step") != self.step:
            if time.monotonic() > end:
                raise ConfigError(
                    f"trainer.num_nodes={self.nodes}: node 0 has not begun in {folder.path} within {seconds:g} s; "
                    "allowed are nodes of one kind that share paths.runs_dir."
                )
            time.sleep(0.2)


def group_of(cfg: DictConfig, environment: Mapping[str, str] = os.environ) -> Group:
    """The machines of a run; more than one only as SLURM's nodes.

    Raises:
        ConfigError: SLURM has not given this run `trainer.num_nodes` nodes, with one task on each.
    """
    wanted = cfg.trainer.num_nodes
    if wanted == 1:
        return Group(1, 0, "127.0.0.1", free_port())
    asked = f"trainer.num_nodes={wanted}"
    if "SLURM_JOB_ID" not in environment:
        raise ConfigError(f"{asked} is not possible outside of SLURM, which gives the nodes; allowed is 1.")
    nodes, tasks = (int(_of_step(environment, *names, "1")) for names in (NODES, TASKS))
    if nodes != wanted:
        raise ConfigError(f"{asked} is not what SLURM gives, {nodes} node(s); allowed is {nodes}.")
    if tasks != nodes:
        raise ConfigError(
            f"{asked} with {tasks} tasks is not possible, since each node starts its own ranks; allowed is one task "
            f"per node (srun --ntasks={nodes} --ntasks-per-node=1)."
        )
    job, step = environment["SLURM_JOB_ID"], environment.get("SLURM_STEP_ID", "0")
    return Group(
        nodes,
        int(environment.get("SLURM_NODEID", "0")),
        address=_resolving(first_host(_of_step(environment, *HOSTS, ""))),
        port=PORTS[(10 * int(job) + int(step)) % len(PORTS)],
        step=f"{job}.{environment.get('SLURM_RESTART_COUNT', '0')}.{step}",
    )


NODES = ("SLURM_STEP_NUM_NODES", "SLURM_NNODES")
TASKS = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
HOSTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST")


def _of_step(environment: Mapping[str, str], of_step: str, of_job: str, otherwise: str) -> str:
    return environment.get(of_step) or environment.get(of_job) or otherwise


def first_host(hosts: str) -> str:
    """The first of SLURM's list of hosts, such as `gpu[07-12,20],login`."""
    return re.sub(r"\[([^-,\]]+)[^\]]*\]", r"\1", hosts).partition(",")[0]


def _resolving(host: str) -> str:
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise ConfigError(
            f"SLURM_JOB_NODELIST begins with {host or 'no host'}, which cannot be found ({error}); allowed are hosts "
            "that all nodes know by name."
        ) from None
    return host


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
