"""`steepest eval` and `steepest predict`: the model of a run folder, on its own data."""

import argparse
import csv
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from steepest.assemble import assemble
from steepest.errors import ConfigError
from steepest.launchers.machine import settle
from steepest.runs.folder import find_run
from steepest.runs.log import logging_aside
from steepest.runs.weights import checkpoint_of, load_task

SPLITS = ("val", "test")


def evaluate_command(arguments: list[str]) -> None:
    """Print the metrics of a run's model on a split."""
    options = parse("eval", arguments)
    with logging_aside():
        trainer, task, loader, _ = load(options)
        run = trainer.validate if options.split == "val" else trainer.test
        run(task, loader, verbose=False)
    table = Table("metric", "value", box=None, padding=(0, 2, 0, 0))
    for name, value in trainer.callback_metrics.items():
        table.add_row(name, f"{float(value):.6g}")
    console = Console(highlight=False)
    console.print(f"{options.run}: the {options.checkpoint} model", soft_wrap=True, markup=False)
    console.print(table)


def predict_command(arguments: list[str]) -> None:
    """Write a line for each example of a split: its index and what the task predicts."""
    options = parse("predict", arguments)
    with logging_aside():
        trainer, task, loader, folder = load(options)
        if type(task).predict_step is pl.LightningModule.predict_step:
            raise ConfigError(
                f"{options.run} is of a task that predicts nothing; allowed is steepest eval {options.run}."
            )
        batches: Any = trainer.predict(task, loader)
    columns = {name: [value for batch in batches for value in list_of(batch[name])] for name in batches[0]}
    count = len(next(iter(columns.values())))
    output = Path(options.output or folder / f"predictions-{options.split}-{options.checkpoint}.csv")
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["index", *columns])
        writer.writerows(zip(range(count), *columns.values(), strict=True))
    print(f"{count:,} predictions of the {options.checkpoint} model: {output}")


def list_of(values: Any) -> list[Any]:
    """The rows of a column of one batch."""
    return values.tolist() if isinstance(values, torch.Tensor) else list(values)


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """The options that both commands share."""
    parser = argparse.ArgumentParser(prog=f"steepest {command}")
    parser.add_argument("run", metavar="RUN", help="a run folder, or the id (or its beginning) of one below runs/")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="the result, or the best on val")
    parser.add_argument("--runs-dir", default="runs", help="where run ids are looked up")
    parser.add_argument("--data-dir", help="where the data lies now, if not where the run found it")
    if command == "predict":
        parser.add_argument("--output", help="the CSV file; default: in the run folder")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> tuple[pl.Trainer, pl.LightningModule, Any, Path]:
    """The run's task with its weights, a Trainer for one device, and the loader of the split.

    Raises:
        ConfigError: no such run or checkpoint.
    """
    folder = find_run(options.run, options.runs_dir)
    cfg = OmegaConf.load(folder.config_file)
    assert isinstance(cfg, DictConfig)
    if options.data_dir:
        moved(cfg, options.data_dir)
    file = checkpoint_of(str(folder.path), options.runs_dir, options.checkpoint)
    cfg.trainer = {"accelerator": "auto", "devices": 1, "num_nodes": 1, "strategy": "auto", "refuses": []}
    cfg.init_from = cfg.threads = None
    settle(cfg)
    parts = assemble(cfg)
    load_task(parts.task, file)
    trainer = pl.Trainer(
        accelerator=cfg.trainer.accelerator,
        devices=1,
        precision=cfg.precision.lightning,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    loader = parts.data.val_dataloader() if options.split == "val" else parts.data.test_dataloader()
    return trainer, parts.task, loader, folder.path


def moved(cfg: DictConfig, data_dir: str) -> None:
    """Let everything that lay below the run's data folder lie below `data_dir`."""
    old = cfg.paths.data_dir
    for node in (cfg.dataset, cfg.paths):
        for key, value in node.items():
            if isinstance(value, str) and (value == old or value.startswith(f"{old}/")):
                node[key] = data_dir + value[len(old) :]
