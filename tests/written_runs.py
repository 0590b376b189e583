"""Run folders as training leaves them, written in a millisecond each, with curves that are known."""

import json
import math
from pathlib import Path

import yaml

RATES = {"sgd": 0.1, "adam": 1e-3, "lion": 1e-4}
CLASSES = {"sgd": "sgd.SGD", "adam": "adam.Adam", "lion": "lion.Lion"}


def write_run(
    runs: Path,
    number: int,
    *,
    optimizer="adam",
    lr=None,
    seed=0,
    value=0.9,
    status="finished",
    study=None,
    digest="d1d1d1d1d1d1",
    metric="val/accuracy",
    direction="max",
    rows=10,
    dataset="digits",
    name=None,
    memory=120.0,
    total=100,
    start=0.1,
    choices=None,
):
    """A run whose metric goes from `start` to `value` in a straight line over `total` steps, logged `rows` times."""
    run_id = f"r{number:011x}"
    folder = Path(runs) / run_id
    folder.mkdir(parents=True)
    lr = RATES.get(optimizer, 0.01) if lr is None else lr
    name = name or f"{dataset}-{optimizer}-s{seed}"
    config = {
        "seed": seed,
        "run": {"id": run_id, "name": name},
        "paths": {"runs_dir": str(runs)},
        "study": study,
        "optimizer": {"_target_": f"steepest.optimizers.{CLASSES.get(optimizer, 'adam.Adam')}", "lr": lr},
        "batch": {"size": 128},
        "choices": {"optimizer": optimizer, "dataset": dataset, "task": "classification", **(choices or {})},
    }
    (folder / "config.yaml").write_text(yaml.dump(config, Dumper=yaml.CSafeDumper, sort_keys=False))
    command = f"python train.py optimizer={optimizer} optimizer.lr={lr} seed={seed}"
    record = {"status": status, "attempt": 1, "started": "2026-11-25T03:54:30+00:00", "command": command}
    record |= {"host": "desk", "run_id": run_id, "source_digest": digest, "reason": None}
    (folder / "status.json").write_text(json.dumps(record))
    ended = status in ("finished", "diverged")
    result = value if status == "finished" else None
    steps = total if status == "finished" else total // 2
    if ended:
        test = {"test/" + metric.partition("/")[2]: result - 0.01} if result is not None else {}
        summary = {
            "run_id": run_id,
            "name": name,
            "status": status,
            "headline": {"metric": metric, "value": result, "direction": direction},
            "metrics": {"train/loss": 0.5, **({metric: result} if result is not None else {}), **test},
            **{"opt_steps": steps, "examples": 128 * steps, "grad_evals": steps, "wall_s": 0.01 * steps},
            **{"elapsed_s": 0.02 * steps, "memory_mb": memory, "parameters": 94186},
        }
        (folder / "summary.json").write_text(json.dumps(summary))
    with (folder / "metrics.jsonl").open("w") as file:
        for i in range(1, rows + 1):
            step = max(1, round(steps * i / rows))
            share = step / total
            row = {"opt_step": step, "examples": 128 * step, "grad_evals": step, "wall_s": 0.01 * step, "epoch": share}
            row |= {"train/loss": 2.3 * math.exp(-share), metric: start + share * (value - start)}
            file.write(json.dumps({**row, "layers/head/grad_rms": 0.1}) + "\n")
    return folder


def write_study(runs: Path, row="vision", study="domains", seeds=5, trials=6, first=1, metric="val/accuracy", gap=0.02):
    """A row of a study: adam, sgd and lion, each with a search and an evaluation; one run of lion's search diverges."""
    number = first
    best = {"adam": 0.9, "sgd": 0.9 - gap, "lion": 0.9 - 2 * gap}
    part = {"name": study, "scale": "small", "row": row}
    for optimizer, top in best.items():
        for trial in range(trials):
            lr = RATES[optimizer] * 10 ** (trial - trials // 2)
            value = top - 0.03 * (trial - trials // 2) ** 2
            status = "diverged" if optimizer == "lion" and trial == trials - 1 else "finished"
            told = {**part, "contender": optimizer, "phase": "search", "trial": trial}
            write_run(runs, number, optimizer=optimizer, lr=lr, value=value, status=status, study=told, metric=metric)
            number += 1
        for seed in range(100, 100 + seeds):
            told = {**part, "contender": optimizer, "phase": "evaluate", "trial": None}
            value = top + 0.004 * math.sin(37.0 * seed) + 0.002 * math.sin(91.0 * number)
            write_run(runs, number, optimizer=optimizer, seed=seed, value=value, study=told, metric=metric)
            number += 1
    return number


def verdict_frame(rows=("vision",), **more):
    """Verdicts as studies give them."""
    import pandas as pd

    words = ("confirmed", "on par", "inconclusive", "refuted")
    return pd.DataFrame(
        [
            {
                **{"row": row, "claim": f"Adam beats the rest on {row}", "condition": "batch 128, 100 steps"},
                **{"verdict": words[i % 4], "reason": "better than every rival (p = 0.003)", "recommended": "adam"},
                **{"best_rival": "sgd", "metric": "val/accuracy", "direction": "max", "value": 0.9, "low": 0.897},
                **{"high": 0.903, "n": 5, "rival_value": 0.88, "seeds_needed": 4, "margin": 0.005, "target": 0.8},
                **more,
            }
            for i, row in enumerate(rows)
        ]
    )
