"""Speed, as ratios of things measured in turn within one run: `make bench` (or python scripts/benchmark.py loop)."""

import contextlib
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROUNDS = 5
TRAIN = Path(__file__).parents[1] / "train.py"


def main(chosen: list[str]) -> None:
    """Run the chosen benchmarks, or all."""
    print(f"{cpu()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}")
    for name in chosen or BENCHMARKS:
        print(f"\n{name}: {BENCHMARKS[name].__doc__}")
        for line in BENCHMARKS[name]():
            print(f"  {line}", flush=True)


def startup() -> Iterator[str]:
    """Seconds until a question about the configuration is answered, mistakes included (to reach: 1.5)."""
    for arguments in (["--cfg", "job"], ["optimizer=adamx"], ["optimizer.lrr=1"]):
        seconds = [timed(lambda: run_train(arguments)) for _ in range(ROUNDS)]  # noqa: B023
        yield f"{' '.join(arguments):<20} {spread(seconds)}"


def loop() -> Iterator[str]:
    """Steps/s of a run, logging and offline W&B on, over a bare PyTorch loop's (to reach: CNN 0.9, MLP 0.45)."""
    grey = ["dataset=noise", "dataset.shape=[1,28,28]", "dataset.mean=[0.5]", "dataset.std=[0.29]"]
    for name, steps, overrides in (
        ("cnn, 1 x 28 x 28, batch 128", 100, [*grey, "model=cnn", "batch.size=128"]),
        ("cnn, 3 x 32 x 32, batch 128", 100, ["dataset=noise", "model=cnn", "batch.size=128"]),
        ("mlp 784-128-10, batch 64", 1000, [*grey, "model=mlp", "model.hidden=[128]", "batch.size=64"]),
    ):
        pairs = [(steepest_loop(overrides, steps), bare_loop(overrides, steps)) for _ in range(ROUNDS)]
        ours, bare = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield f"{name:<28} {spread([a / b for a, b in pairs])}   ({ours:,.0f} against {bare:,.0f} steps/s)"


def images() -> Iterator[str]:
    """Images/s of our loader over torchvision transforms in a DataLoader with 2 workers, 3 x 32 x 32 (to reach: 10)."""
    for name, padding in (("crop, flip, normalise", 4), ("normalise", 0)):
        pairs = [(steepest_images(padding), torchvision_images(padding)) for _ in range(3)]
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield f"{name:<28} {spread([a / b for a, b in pairs])}   ({ours:,.0f} against {theirs:,.0f} images/s)"


def convolutions() -> Iterator[str]:
    """Images/s of experiment=cifar10_resnet's network over those of fp32 with the channels first."""
    images = ["dataset=noise", "dataset.num_examples=2000", "model=resnet9", "batch.size=128"]
    last = "precision.channels_last=true"
    ways: dict[str, list[str]] = {}
    for name, precision in (("fp32", "fp32"), ("bf16", "bf16_mixed")):
        ways |= {name: [f"precision={precision}"], f"{name}, channels last": [f"precision={precision}", last]}
    rounds = [[128 * steepest_loop([*images, *way], 12) for way in ways.values()] for _ in range(3)]
    for name, speeds in zip(ways, zip(*rounds, strict=True), strict=True):
        ratios = [speed / speeds_of_round[0] for speed, speeds_of_round in zip(speeds, rounds, strict=True)]
        yield f"{name:<28} {spread(ratios)}   ({statistics.median(speeds):,.0f} images/s)"


def tables() -> Iterator[str]:
    """An AdaGrad step of a matrix factorisation, batch 1,024: its time over that with 1,000 rows (to reach: 3)."""
    sizes = (1_000, 10_000, 100_000, 1_000_000)
    for name, sparse in (("sparse gradients", True), ("dense gradients", False)):
        steppers = [embedding_step(rows, sparse) for rows in (sizes if sparse else sizes[:3])]
        rounds = [[timed(step) for step in steppers] for _ in range(200)][20:]
        for rows, *seconds in zip(sizes, *rounds, strict=False):
            ratios = [own / first[0] for own, first in zip(seconds, rounds, strict=True)]
            yield f"{name}, {rows:>9,} rows   {spread(ratios)}   ({statistics.median(seconds) * 1e3:.2f} ms)"


def embedding_step(rows: int, sparse: bool) -> Callable[[], None]:
    """What makes a step on a batch of random ids: forward, backward, update."""
    import torch

    from steepest.models.matrix_factorization import MatrixFactorization
    from steepest.optimizers.adagrad import Adagrad

    model = MatrixFactorization(field_sizes=[rows, rows], base_output=3.5, dim=32, sparse=sparse)
    optimizer = Adagrad(model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(torch.randint(rows, (1024, 2))).square().mean().backward()
        optimizer.step()

    return step


def bare_loop(overrides: list[str], steps: int) -> float:
    """Steps/s of the usual loop around the same model and the same loader, with torch's own optimizer."""
    import torch
    from torch.nn.functional import cross_entropy

    parts, _ = assembled(overrides, steps)
    model, loader = parts.task.model, parts.data.train_dataloader()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.train()
    done, start = 0, time.perf_counter()
    while done < steps:
        for x, y in loader:
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
    return steps / (time.perf_counter() - start)


def steepest_loop(overrides: list[str], steps: int) -> float:
    """Steps/s of a whole run, by its own count; validation and checkpoints are no training."""
    from steepest.fit import fit
    from steepest.runs.folder import RunFolder
    from steepest.runs.log import logging_aside

    with logging_aside(), tempfile.TemporaryDirectory() as folder:
        parts, cfg = assembled([*overrides, "validation.every=1.0"], steps)
        cfg.run = {**cfg.run, "id": "bench", "folder": folder, "name": "bench", "attempt": 1}
        run = RunFolder(Path(folder))
        fit(parts, cfg, run)
        return run.summary["opt_steps"] / run.summary["wall_s"]


def assembled(overrides, steps):  # type: ignore[no-untyped-def]
    """The parts of a run and its configuration."""
    from steepest.assemble import assemble
    from steepest.config import compose
    from steepest.launchers.machine import settle

    cfg = compose([*overrides, f"budget.steps={steps}", "budget.epochs=null", "logger.wandb.mode=offline"])
    settle(cfg)
    return assemble(cfg), cfg


def steepest_images(padding: int) -> float:
    """Images/s of the training loader over one epoch."""
    options = ["dataset=noise", f"dataset.crop_padding={padding}", f"dataset.flip={str(padding > 0).lower()}"]
    parts, _ = assembled(options, 1)
    return images_per_second(parts.data.train_dataloader())


def torchvision_images(padding: int) -> float:
    """Images/s of the usual torchvision pipeline over one epoch."""
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    augment = [transforms.RandomCrop(32, padding=padding), transforms.RandomHorizontalFlip()] if padding else []
    transform = transforms.Compose([*augment, transforms.ToTensor(), transforms.Normalize((0.5,) * 3, (0.2887,) * 3)])

    class Images(Dataset):
        pixels = torch.randint(0, 256, (10000, 32, 32, 3), dtype=torch.uint8).numpy()

        def __len__(self) -> int:
            return len(self.pixels)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return transform(Image.fromarray(self.pixels[index])), 0

    return images_per_second(DataLoader(Images(), batch_size=128, shuffle=True, num_workers=2, drop_last=True))


def images_per_second(loader) -> float:  # type: ignore[no-untyped-def]
    """Over the second of two epochs."""
    for _ in range(2):
        start = time.perf_counter()
        count = sum(len(y) for _, y in loader)
        seconds = time.perf_counter() - start
    return count / seconds


def run_train(arguments: list[str]) -> None:
    """`python train.py ARGUMENTS`, its output thrown away."""
    subprocess.run([sys.executable, TRAIN, *arguments], capture_output=True, check=False)  # noqa: S603


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def spread(values: list[float]) -> str:
    """Median, least and most."""
    return f"{statistics.median(values):6.2f}  [{min(values):.2f} to {max(values):.2f}]"


def cpu() -> str:
    """The processor's name, and whether it has matrix tiles (AMX)."""
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        name = next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name"))
        return f"{name} ({'with' if 'amx_tile' in text else 'no'} AMX)"
    return platform.processor()


def sweeps() -> Iterator[str]:
    """Seconds of a sweep's job over those of its training alone, one at a time (to reach: isolated 0.5)."""
    with tempfile.TemporaryDirectory() as place:
        for name, words in (
            ("isolated", ["-m", "hydra/launcher=isolated", "hydra.launcher.n_jobs=1"]),
            ("joblib", ["-m", "hydra/launcher=joblib", "hydra/sweeper=basic", "hydra.launcher.n_jobs=1"]),
            ("a fresh process each", []),
        ):
            costs = [job_overhead(words, f"{place}/{len(words)}-{turn}") for turn in range(3)]
            yield f"{name:<28} {spread(costs)}"


def job_overhead(words: list[str], runs_dir: str) -> float:
    """What a job costs beside its training: by sweeps of 2 and of 10 jobs, so that what a sweep costs drops out."""
    tiny = ["model=logistic", "callbacks=none", "logger=none", "budget.steps=20", "budget.epochs=null", "threads=1"]

    def run(count: int) -> float:
        own = [*tiny, f"paths.runs_dir={runs_dir}-{count}"]
        if words:
            return timed(lambda: run_train([*words, *own, f"seed={','.join(map(str, range(count)))}"]))
        return sum(timed(lambda: run_train([*own, f"seed={seed}"])) for seed in range(count))  # noqa: B023

    few, many = run(2), run(10)
    trained = [json.loads(file.read_text())["elapsed_s"] for file in Path(f"{runs_dir}-10").glob("r*/summary.json")]
    if len(trained) != 10:
        raise RuntimeError(f"{len(trained)} of 10 jobs have ended")
    return (many - few) / 8 - statistics.fmean(trained)


def ledger() -> Iterator[str]:
    """Seconds to plan a sweep of 10,240 runs, and for its status (to reach: 10 and 5)."""
    with tempfile.TemporaryDirectory() as place:
        lr = ",".join(f"{10 ** (-i / 8):.4g}" for i in range(32))
        words = [
            *["-m", "optimizer=adam,adamw,sgd,sgd_momentum,lion,lamb,muon,rmsprop"],
            *["schedule=cosine,constant,warmup_cosine,wsd", f"optimizer.lr={lr}", "seeds=10"],
            f"paths.runs_dir={place}/runs",
        ]
        yield f"plan                         {spread([timed(lambda: planned(words)) for _ in range(3)])}"
        folder = Path(place) / "runs/sweeps/written"
        written(folder, 10_240)
        answer = [sys.executable, "-m", "steepest.cli", "status", str(folder)]
        yield f"status                       {spread([timed(lambda: answered(answer)) for _ in range(3)])}"


def planned(words: list[str]) -> None:
    """Plan a sweep in a process of its own, as a dry run does it before it probes a run."""
    ask = (
        "import sys\n"
        "from steepest.sweeps import bill\n"
        "bill.bill = lambda todo, done, probes: sys.exit(0 if len(todo) == 10240 else 1)\n"
        "from steepest.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    answered([sys.executable, "-c", ask, "train", *words, "dry_run=true"])


def answered(command: list[str]) -> None:
    """Run a command that must come to its end."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode or "Traceback" in done.stderr:
        raise RuntimeError(done.stderr)


def written(folder: Path, count: int) -> None:
    """A sweep of so many finished runs, as its commands and its runs would leave it."""
    from steepest.runs.files import write_json
    from steepest.sweeps.identify import PlannedJob
    from steepest.sweeps.ledger import Ledger

    folder.mkdir(parents=True)
    runs_dir = folder.parents[1]
    jobs = [PlannedJob([f"seed={i}"], {}, f"r{i:011x}", "digest") for i in range(count)]
    Ledger(folder).add(jobs, runs_dir)
    for job in jobs:
        (runs_dir / job.run_id).mkdir()
        record = {"status": "finished", "attempt": 1, "run_id": job.run_id, "source_digest": job.digest}
        write_json(runs_dir / job.run_id / "status.json", record)


BENCHMARKS = {
    "sweeps": sweeps,
    "ledger": ledger,
    "startup": startup,
    "loop": loop,
    "images": images,
    "convolutions": convolutions,
    "tables": tables,
}

if __name__ == "__main__":
    with contextlib.redirect_stderr(io.StringIO()) if not sys.stderr.isatty() else contextlib.nullcontext():
        main(sys.argv[1:])
