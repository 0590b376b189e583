"""A SLURM cluster of two nodes on this machine, and a folder in which commands are typed that use it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from slurm_jobs import Hold

from steepest.config import conf_dir
from steepest.runs.folder import RunFolder

CHECKOUT = conf_dir().parent

NODES = ("127.0.0.1", "127.0.0.2")

TINY = ["model=logistic", "optimizer=sgd_momentum", "budget.epochs=null", "budget.steps=40", "validation.every=20"]
TINY += ["logger=none", "callbacks=none", "threads=1"]


def wait_for(condition, seconds=180.0):
    """The first true value of the condition."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {seconds} s for {condition}"
        time.sleep(0.1)
    return value


class Cluster:
    """What tests ask of a cluster.

    Args:
        folder: its files.
    """

    def __init__(self, folder):
        self.folder = folder
        here = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH"))}
        self.environment = {
            **here,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")])),
            "OMP_NUM_THREADS": "1",
        }

    def ask(self, *words):
        """The output of one of SLURM's commands."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def jobs(self):
        """The state of each job up to now, array tasks one by one, by its id (`17`, or `17_3` of an array)."""
        lines = self.ask("squeue", "--noheader", "--array", "--states=all", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def unended(self):
        """The ids of the jobs that wait or run."""
        return self.ask("squeue", "--noheader", "--array", "--format=%i").split()

    def job(self, number):
        """What SLURM knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "--oneliner", "show", "job", number)))

    def running(self, word):
        """The processes on all nodes whose command line has this word, of Python alone."""
        return [pid for pid in self._pids() if _name(pid).startswith("python") and word in _command(pid)]

    def kill_node(self, name):
        """Let a node die with all that runs there."""
        mine = self._pids(name)
        steps = {parent for parent in map(_parent, mine) if _name(parent) == "slurmstepd"}
        daemon = int((self.folder / f"slurmd.{name}.pid").read_text())
        for pid in (daemon, *steps, *mine):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start_node(self, name):
        """Let a node that died come back."""
        found = {**self.environment, "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        command = ["slurmd", "-N", name, "-f", self.environment["SLURM_CONF"]]
        subprocess.run(command, env=found, check=True, timeout=60)

    def _pids(self, node=None):
        """The processes of jobs, on one node or on all."""
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        found = {pid: _environment(pid) for pid in pids}
        mine = {pid: here for pid, here in found.items() if here.get("SLURM_CONF") == self.environment["SLURM_CONF"]}
        return [pid for pid, here in mine.items() if here.get("SLURMD_NODENAME") in ((node,) if node else NODES)]


def _environment(pid):
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return {}
    return dict(word.split("=", 1) for word in words if "=" in word)


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def _parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def job_of(pid):
    """The SLURM job that a process belongs to, and the name of its node.

    A task of an array as `17_3`: scancel does nothing, in silence, with the number that the task has for itself.
    """
    while pid > 1:
        found = _environment(pid)
        if "SLURM_JOB_ID" in found:
            task = [found[name] for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID") if name in found]
            return "_".join(task) or found["SLURM_JOB_ID"], found["SLURMD_NODENAME"]
        pid = _parent(pid)
    raise AssertionError("no job of SLURM")


class Bench:
    """A folder in which commands are typed.

    Args:
        cluster: where jobs go.
        folder: the working folder; runs lie in `runs/`.
        program: the checkout whose commands they are.
    """

    def __init__(self, cluster, folder, program=CHECKOUT):
        self.cluster, self.folder, self.program = cluster, folder, program
        self.started = []

    def start(self, *words, script="train.py"):
        """Type a command and do not wait for its end; what it says is in the file of its `said`."""
        said = self.folder / f"said-{len(self.started)}.txt"
        path = f"{self.program / 'src'}{os.pathsep}{self.cluster.environment['PYTHONPATH']}"
        here = {**self.cluster.environment, "PYTHONPATH": path}
        with said.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, str(self.program / script), *words],
                cwd=self.folder,
                env=here,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's & ignores it
            )
        process.said = said
        self.started.append(process)
        return process

    def ended(self, process, seconds=400.0):
        """The exit code of a command and what it has said."""
        process.wait(seconds)
        return process.returncode, process.said.read_text()

    def type(self, *words, script="train.py", seconds=400.0):
        """Type a command; its exit code and what it has said."""
        return self.ended(self.start(*words, script=script), seconds)

    def sweep(self, *words):
        """Type a sweep of tiny runs and do not wait for its end."""
        return self.start("-m", *TINY, "hydra/launcher=slurm", "hydra.sweep.dir=sweep", *words)

    def holding(self, does, *words):
        """Type such a sweep, in which some seeds wait or die in the middle; see slurm_jobs.Hold."""
        return self.sweep(*self.hold(does), *words)

    def hold(self, does):
        """The overrides that let some seeds wait or die."""
        place = self.folder / "holds"
        place.mkdir(exist_ok=True)
        plan = ",".join(f"{seed}:{what}" for seed, what in does.items())
        words = [f"+callbacks.hold._target_={Hold.__module__}.Hold", "+callbacks.hold.seed=${seed}"]
        words += [f"+callbacks.hold.does={{{plan}}}", f"+callbacks.hold.place={place}"]
        return [*words, "--allow-target", Hold.__module__]

    def held(self, seed):
        """The process id of the run of this seed, when it waits (or has died)."""
        file = self.folder / "holds" / str(seed)
        wait_for(lambda: file.exists() or self._over())
        assert file.exists(), "\n".join(path.read_text() for path in self.folder.glob("*-*.*t"))
        return int(file.read_text())

    def _over(self):
        return not self.cluster.unended() and all(process.poll() is not None for process in self.started)

    def runs(self, runs_dir="runs"):
        """The run folders."""
        return [RunFolder(path.parent) for path in self.folder.glob(f"{runs_dir}/r*/status.json")]

    def run(self, seed):
        """The run folder of a seed; the only one of it."""
        [folder] = [run for run in self.runs() if f"\nseed: {seed}\n" in f"\n{run.config_file.read_text()}"]
        return folder

    def statuses(self):
        """How the runs ended."""
        return sorted(run.status["status"] for run in self.runs())

    def submit(self, template, *words, options=()):
        """The id of the job that a template of slurm/ is submitted as."""
        command = ["sbatch", "--parsable", *options, CHECKOUT / "slurm" / template, *words]
        here = {**self.cluster.environment, "STEEPEST_HOME": str(CHECKOUT)}
        done = subprocess.run(command, cwd=self.folder, env=here, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def close(self):
        """End what was started and has not ended."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        for job in self.cluster.unended():
            subprocess.run(["scancel", job], env=self.cluster.environment, check=False, timeout=60)
        wait_for(lambda: not self.cluster.unended(), 60)
