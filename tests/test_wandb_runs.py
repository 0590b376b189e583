"""Runs read back from W&B: what was sent from run folders comes back as the same tables."""

import math
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import wandb
from fake_wandb import KEY, serving, without_login
from omegaconf import OmegaConf

from steepest.errors import ConfigError
from steepest.report import runs as folders
from steepest.report.wandb_runs import load
from steepest.runs.files import write_json
from steepest.runs.folder import RunFolder
from steepest.sync_wandb import main as sync

STUDY = {"scale": "smoke", "row": "gan", "contender": "adam", "phase": "search", "search": 0, "trial": 3}


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """wandb reads the environment once a process."""
    wandb.teardown()
    without_login(monkeypatch, tmp_path / "home")
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "cache"))
    yield
    with suppress(Exception):
        wandb.teardown()


@pytest.fixture
def server(monkeypatch):
    with serving() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield fake


def made_folder(place, run_id, rows, status="finished", attempt=1, value=0.75, **config):
    """A run folder with these rows."""
    folder = RunFolder(place)
    folder.path.mkdir(parents=True)
    group = "domains/gan/adam" if config.get("study") else None
    about = {"id": run_id, "attempt": attempt, "name": f"name-{run_id}", "group": group, "tags": ["gan"]}
    logger = {"wandb": {"project": "steepest", "entity": "team"}}
    optimizer = {"_target_": "steepest.optimizers.adam.Adam", "lr": 0.25, "betas": [0.5, 0.9]}
    content = {"seed": 3, "study": None, "optimizer": optimizer, "logger": logger, "run": about, **config}
    OmegaConf.save(OmegaConf.create(content), folder.config_file)
    for row in rows:
        folder.append(row)
    folder.write_summary(
        {
            "run_id": run_id,
            "name": f"name-{run_id}",
            "status": status,
            "headline": {"metric": "val/accuracy", "value": value, "direction": "max"},
            "metrics": {"val/accuracy": value, "best/val/accuracy": 0.875, "best/opt_step": 1},
            **{"opt_steps": 2, "examples": 128, "grad_evals": 2, "wall_s": 1.5, "elapsed_s": 2.0, "memory_mb": 512.0},
            "parameters": 650,
        }
    )
    origin = {"source_digest": "abc", "command": "python train.py", "host": "h", "started": f"2026-01-0{attempt}"}
    write_json(folder.path / "status.json", {"status": status, "attempt": attempt, **origin})
    return folder


def axes(step):
    return {"opt_step": step, "examples": 64 * step, "grad_evals": step, "wall_s": step / 4, "epoch": step / 2}


ROWS = [
    {**axes(0), "val/accuracy": 0.5},
    {**axes(1), "train/loss": 2.0, "lr": 0.25},
    {**axes(2), "train/loss": 1.0, "lr": 0.125, "layers/0/grad": 3.0},
    {**axes(2), "val/accuracy": 0.75},
]


def comparable(runs):
    frame = runs.runs.sort_values("run_id", ignore_index=True).drop(columns=["path", "metrics", "config"])
    return frame.astype(object).where(frame.notna(), None)


def test_what_was_sent_comes_back_as_the_same_tables(server):
    made_folder(Path("runs/r00000000001"), "r00000000001", ROWS, study={"name": "domains", **STUDY})
    made_folder(Path("runs/r00000000002"), "r00000000002", ROWS[:2], "diverged", value=None)
    sync([])
    here, there = folders.load(["runs"]), load("team/steepest")
    pd.testing.assert_frame_equal(comparable(there), comparable(here))
    pd.testing.assert_frame_equal(there.metrics[here.metrics.columns], here.metrics)
    assert {*there.metrics} == {*here.metrics}
    for far, near in zip(there.runs.itertuples(), here.runs.itertuples(), strict=True):
        assert far.config == near.config
        assert {key: far.metrics[key] for key, value in near.metrics.items()} == near.metrics
        assert far.path == f"{server.url}/team/steepest/runs/{far.run_id}-1"
    first, second = there.runs.itertuples()
    assert (first.study, first.contender, first.phase, first.trial) == ("domains", "adam", "search", 3)
    assert "val/accuracy" not in second.metrics
    assert math.isnan(second.value)


def test_filters_go_to_the_server(server):
    made_folder(Path("runs/a"), "r00000000001", ROWS, study={"name": "domains", **STUDY})
    made_folder(Path("runs/b"), "r00000000002", ROWS)
    sync([])
    assert [*load("team/steepest", filters={"group": "domains/gan/adam"}).runs.run_id] == ["r00000000001"]


def test_of_several_attempts_the_last_that_ended_counts(server):
    folder = made_folder(Path("runs/a"), "r00000000001", ROWS, attempt=2)
    made_folder(folder.path / "attempts" / "1", "r00000000001", ROWS[:1], value=0.5)
    sync([])
    found = load("team/steepest")
    assert [*found.runs.value] == [0.75]
    assert len(found.metrics) == 4
    assert found.notes == ("1 older attempt at the same runs left out.",)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("steepest", "--wandb=steepest is not possible; allowed is entity/project."),
        ("/steepest", "allowed is entity/project"),
        ("team/", "allowed is entity/project"),
        ("team/steepest/more", "allowed is entity/project"),
        ("team/other", "--wandb=team/other cannot be read: "),
    ],
)
def test_what_cannot_be_read_is_one_sentence(path, sentence, server):
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)


def test_without_a_key_nothing_is_asked(monkeypatch):
    with pytest.raises(ConfigError, match="There is no API key for W&B; allowed is the environment's WANDB_API_KEY"):
        load("team/steepest")


# --- what no server of ours sends ---


class StandIn:
    """In place of `wandb.Api()`."""

    def __init__(self, *runs):
        self.found = runs

    def runs(self, path, filters, lazy):
        assert (path, filters, lazy) == ("team/p", {}, False)
        return self.found


def run_of(history=(), summary=None, config=None, **more):
    about = {"id": "w1", "name": "n", "url": "u", "state": "finished", **more}
    config = {"run": {"id": "r1"}} if config is None else config
    return SimpleNamespace(config=config, summary_metrics=summary or {}, scan_history=lambda: iter(history), **about)


def test_a_step_that_was_sent_twice_counts_once_and_the_last_wins():
    history = [
        {"_step": 0, "opt_step": 1, "train/loss": 5.0},
        {"_step": 1, "opt_step": 1, "val/loss": 4.0},  # of the same step, and no repetition
        {"_step": 2, "opt_step": 2, "train/loss": 3.0},
        {"_step": 3, "opt_step": 1, "train/loss": 2.0},
        {"_step": 4, "opt_step": 3, "train/loss": 1.0},
    ]
    metrics = load("team/p", StandIn(run_of(history))).metrics
    assert [*metrics.opt_step] == [1, 2, 1, 3]
    assert [*metrics["train/loss"].dropna()] == [3.0, 2.0, 1.0]
    assert [*metrics["val/loss"].dropna()] == [4.0]


def test_words_for_numbers_and_what_is_no_number():
    summary = {"val/loss": "NaN", "train/loss": "Infinity", "lr": True, "pictures/a": {"_type": "image"}, "_runtime": 3}
    history = [{"opt_step": 1, "val/loss": "NaN", "pictures/a": {"path": "x"}, "note": "text"}, {"_step": 1, "x": 1}]
    found = load("team/p", StandIn(run_of(history, summary)))
    [metrics] = found.runs.metrics
    assert np.isnan(metrics.pop("val/loss"))
    assert metrics == {"train/loss": math.inf}
    assert {*found.metrics.columns} == {"run_id", "val/loss", *folders.AXES}
    assert len(found.metrics) == 1


@pytest.mark.parametrize(
    ("state", "said", "status"),
    [
        ("finished", None, "finished"),
        ("crashed", None, "failed"),
        ("killed", None, "failed"),
        ("running", None, "running"),
        ("finished", "diverged", "diverged"),
        ("failed", "preempted", "preempted"),
    ],
)
def test_the_status_is_ours_where_it_is_known(state, said, status):
    summary = {"status": said} if said else {}
    assert [*load("team/p", StandIn(run_of(summary=summary, state=state))).runs.status] == [status]


def test_a_project_without_runs_of_ours_is_refused():
    with pytest.raises(ConfigError, match="--wandb=team/p has no run of steepest; allowed is a project that runs"):
        load("team/p", StandIn(run_of(config={"lr": 1})))


def test_a_server_that_breaks_is_one_sentence_without_the_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)

    class Broken:
        def runs(self, *_, **__):
            raise RuntimeError(f"refused {KEY}\nand more")

    with pytest.raises(ConfigError) as caught:
        load("team/p", Broken())
    assert str(caught.value) == "--wandb=team/p cannot be read: refused <key>."
