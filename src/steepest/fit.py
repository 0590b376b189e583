"""The straight line of one run, from its parts to its summary."""

import logging
import resource
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment

from steepest.assemble import Parts, clipping
from steepest.build import build
from steepest.callbacks.checkpoints import Checkpoints
from steepest.callbacks.evaluation_weights import EvaluationWeights
from steepest.callbacks.interruption import Interruption
from steepest.callbacks.norms import Norms
from steepest.callbacks.recorder import Recorder
from steepest.config import resolved
from steepest.launchers import xla
from steepest.routing.assignment import summary as summary_of
from steepest.runs.checkpoint import AtomicCheckpointIO
from steepest.runs.folder import Diverged, Preempted, RunFolder
from steepest.runs.weights import load_task
from steepest.tasks.counters import Clock
from steepest.typical import remarks
from steepest.verdict import verdict

JUDGED = ("finished", "diverged")
"""Ends of a run that have a verdict."""


def fit(parts: Parts, cfg: DictConfig, folder: RunFolder) -> None:
    """Train, from `run.resume` on if that is set, test once, and leave the result in the run folder.

    Raises:
        Diverged: the loss is no longer finite.
        Preempted: the run was asked to end, and is saved.
    """
    began = time.perf_counter()
    clock = Clock(parts.task.counters)
    norms = Norms(cfg.log.every) if cfg.log.norms else None
    recorder = Recorder(
        folder, clock, cfg.log.every, parts.total_steps, parts.plan.steps_per_epoch, cfg.budget.seconds, norms
    )
    interruption = Interruption()
    every_steps, every_seconds = cfg.checkpoint.every_steps, cfg.checkpoint.every_seconds
    checkpoints = Checkpoints(folder, clock, interruption, parts.validation_steps, every_steps, every_seconds)
    loggers = [*build(cfg.logger).values()]
    # A task that optimises by hand accumulates and clips by itself, and takes a whole batch at once.
    automatic = parts.task.automatic_optimization
    accumulate = parts.plan.accumulate if automatic else 1
    strategy = build(cfg.trainer.strategy) if OmegaConf.is_config(cfg.trainer.strategy) else cfg.trainer.strategy
    on_xla = cfg.trainer.accelerator == "tpu"
    trainer = pl.Trainer(
        accelerator=xla.OneDevice() if on_xla else cfg.trainer.accelerator,
        devices=cfg.trainer.devices,
        num_nodes=cfg.trainer.num_nodes,
        strategy=strategy,
        precision=cfg.precision.lightning,
        max_epochs=-1,  # the recorder ends the run by our own counters
        accumulate_grad_batches=accumulate,
        val_check_interval=parts.validation_steps * accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        logger=loggers,
        callbacks=[
            interruption,  # first: it must hear what comes while the others begin
            *([norms] if norms else []),
            recorder,
            *build(cfg.callbacks).values(),
            checkpoints,  # it saves what the others have done
            EvaluationWeights(),  # last: the best model is saved before training goes on with other weights
        ],
        # Under SLURM too: Lightning's own handling saves in the middle of a backward pass and requeues by itself.
        plugins=[
            (xla.Checkpoints if on_xla else AtomicCheckpointIO)(cfg.checkpoint.keep),
            *([LightningEnvironment()] if SLURMEnvironment.detect() else []),
        ],
        default_root_dir=folder.path / "none",  # there never is one: under SLURM an hpc_ckpt there would be loaded
        sync_batchnorm=cfg.trainer.get("sync_batchnorm", False),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        **(clipping(cfg.clip) if automatic else {}),
    )
    if cfg.precision.lightning == "64-true":
        parts.task.double()  # Lightning does it after a checkpoint is loaded, which would round its weights
    status = "failed"
    try:
        with interruptible():
            if trainer.is_global_zero:
                mirror(folder, loggers, resolved(cfg))
            trainer.fit(parts.task, datamodule=parts.data, ckpt_path=cfg.run.resume, weights_only=True)
            test(trainer, parts, cfg.test, folder)
        status = "finished"
    except Diverged:
        status = "diverged"
        raise
    except Preempted:
        status = "preempted"
        raise
    finally:
        summary = summarise(cfg, parts, recorder, checkpoints, status)
        summary |= {"elapsed_s": round(time.perf_counter() - began, 3), "memory_mb": peak_memory_mb()}
        if trainer.is_global_zero and status != "failed":
            folder.write_summary(summary)
        for logger in loggers:
            finish(logger, summary)


def test(trainer: pl.Trainer, parts: Parts, which: str, folder: RunFolder) -> None:
    """Measure the last model, or the best on validation, on the test split; with `none` nothing reads it."""
    if which == "none":
        return
    if which == "best":
        load_task(parts.task, folder.checkpoint("best"))
        # They were saved as they are evaluated; the swap would put the last ones in their place.
        trainer.callbacks = [one for one in trainer.callbacks if not isinstance(one, EvaluationWeights)]  # type: ignore[attr-defined]
    trainer.test(parts.task, datamodule=parts.data, verbose=False)


def peak_memory_mb() -> float:
    """The most memory that this process has held, in MB: of its GPU where it used one, otherwise resident."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, elsewhere in KiB
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def mirror(folder: RunFolder, loggers: list[Any], config: dict[str, Any]) -> None:
    """Give the loggers the configuration and all rows of the run up to now; what they had in the folder is redone."""
    for logger in loggers:
        place = getattr(logger, "log_dir", None)
        if place and Path(place).absolute().is_relative_to(folder.path.absolute()):
            shutil.rmtree(place, ignore_errors=True)
        logger.log_hyperparams(config)
        for row in folder.rows():
            logger.log_metrics(row, step=row["opt_step"])


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C be an exception: Lightning ends the process instead, and has all later ones ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def finish(logger: Any, summary: dict[str, Any]) -> None:
    """Close a logger that asks for it; a mirror that breaks does not break the run."""
    try:
        getattr(logger, "finish", lambda _: None)(summary)
    except Exception:
        logging.getLogger("steepest").exception("%s could not be finished", type(logger).__name__)


def summarise(
    cfg: DictConfig, parts: Parts, recorder: Recorder, checkpoints: Checkpoints, status: str
) -> dict[str, Any]:
    """The content of `summary.json`: the last model is the result, the best on validation stands beside it."""
    task = parts.task
    name, direction = task.headline
    counters = task.counters
    return {
        "run_id": cfg.run.id,
        "name": cfg.run.name,
        "status": status,
        "headline": {
            "metric": name,
            "value": recorder.metrics[name] if status == "finished" else None,
            "direction": direction,
        },
        "metrics": {**recorder.metrics, **{f"best/{key}": value for key, value in checkpoints.best.items()}},
        "opt_steps": counters.opt_step,
        "total_steps": parts.total_steps,
        "validation_steps": parts.validation_steps,
        "examples": counters.examples,
        "grad_evals": counters.grad_evals,
        "wall_s": round(counters.wall_s, 3),
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "parameter_groups": summary_of(parts.assignment),
        "remarks": remarks(resolved(cfg)),
        # A run that was asked to stop has not come to its end.
        "verdict": verdict(recorder.folder.rows(), name, direction, status) if status in JUDGED else None,
    }
