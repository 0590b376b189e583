"""Weights & Biases: what arrives there, and what a run does when it is late, broken or gone."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
import wandb
from fake_wandb import KEY, offline_rows, records, serving, without_login
from omegaconf import OmegaConf

from steepest.cli import main
from steepest.config import compose, resolved
from steepest.errors import ConfigError
from steepest.runs import wandb_logger
from steepest.runs.closing import show
from steepest.runs.files import read_json, write_json
from steepest.runs.folder import RunFolder
from steepest.runs.identity import run_id
from steepest.runs.lock import lock
from steepest.runs.wandb_logger import WandbLogger
from steepest.runs.wandb_run import has_key
from steepest.runs.wandb_values import columns, within
from steepest.train import train

AXES = ("opt_step", "examples", "grad_evals", "wall_s", "epoch")
CONFIG = {
    "seed": 1,
    "optimizer": {"lr": 0.1, "betas": [0.9, 0.99], "decay": None},
    "logger": {"wandb": {"project": "configured", "entity": None}},
    "run": {"id": "r0123456789a", "attempt": 2, "name": "digits-mlp", "group": "baselines", "tags": ["vision", "adam"]},
}
ON_WANDB = {**CONFIG, "entries": {"betas_0": 0.9, "betas_1": 0.99}}
"""The configuration with what panels take out of it."""
SPARE_S = 15 - wandb_logger.START_S
END_SPARE_S = 15 - wandb_logger.FINISH_S
"""What all else may take at the start and at the end, of the 15 s that a server may cost."""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """wandb reads the environment once a process."""
    wandb.teardown()
    without_login(monkeypatch, tmp_path / "home")
    yield
    with suppress(Exception):
        wandb.teardown()


@pytest.fixture
def server(monkeypatch):
    with serving() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield fake


def made_folder(path="runs/r0123456789a", rows=0, status="finished", **config):
    folder = RunFolder(Path(path))
    folder.path.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create({**CONFIG, **config}), folder.config_file)
    for number in range(rows):
        folder.append(row(number))
    folder.write_summary(summary(status))
    write_json(folder.path / "status.json", {"status": status, "attempt": config.get("run", CONFIG["run"])["attempt"]})
    return folder


def row(number):
    step = 10 * (number // 2)  # two rows of a step: of training, and of validation
    return {
        "opt_step": step,
        "examples": step * 64,
        "grad_evals": step,
        "wall_s": step / 7,
        "epoch": step / 30,
        "v": number,
    }


def summary(status="finished"):
    headline = {"metric": "val/accuracy", "value": 0.75, "direction": "max"}
    return {
        "run_id": "r0123456789a",
        "status": status,
        "headline": headline,
        "metrics": {"test/accuracy": 0.5},
        "examples": 576,
        "wall_s": 1.5,
        "parameters": 650,
        "opt_steps": 9,
    }


def logger(folder, mode="auto"):
    about = CONFIG["run"]
    return WandbLogger(
        str(folder.path), "steepest", None, mode, f"{about['id']}-2", about["name"], about["group"], about["tags"]
    )


def logged(folder, rows, mode="auto", status="finished"):
    mirror = logger(folder, mode)
    mirror.log_hyperparams(CONFIG)
    for number in rows:
        mirror.log_metrics(row(number), step=number)
    mirror.finish(summary(status))
    return read_json(folder.path / "wandb" / "mirror.json")


def offline_file(folder):
    wandb.teardown()  # only then has all been written
    [file] = folder.path.glob("wandb/offline-run-*/run-*.wandb")
    return file


def test_an_online_run_has_everything(server, capfd):
    told = logged(made_folder(), range(7))
    assert capfd.readouterr() == ("", "")
    [run] = server.runs.values()
    assert run.id == "r0123456789a-2"
    assert run.config == ON_WANDB
    assert [entry["_step"] for entry in run.history] == list(range(7))
    assert [{key: entry[key] for key in row(0)} for entry in run.history] == [row(number) for number in range(7)]
    assert run.summary["headline"] == summary()["headline"]
    assert run.summary["test/accuracy"] == 0.5
    assert run.summary["v"] == 6
    assert run.summary["status"] == "finished"
    assert run.exit_code == 0
    assert {key: run.told(key) for key in ("groupName", "jobType", "displayName", "tags")} == {
        "groupName": "baselines",
        "jobType": "train",
        "displayName": "digits-mlp",
        "tags": ["vision", "adam"],
    }
    assert told["mode"] == "online"
    assert told["url"] == f"{server.url}/team/steepest/runs/r0123456789a-2"
    assert told["arrived"] == {"rows": 7, "status": "finished"}


def test_every_metric_stands_over_the_step_and_other_axes_can_be_chosen():
    folder = made_folder()
    logged(folder, range(2))
    metrics = [r.metric for r in records(offline_file(folder)) if r.WhichOneof("record_type") == "metric"]
    by_name = {metric.name or metric.glob_name: metric for metric in metrics}
    assert by_name["*"].step_metric == "opt_step"
    for axis in AXES:
        assert by_name[axis].options.hidden
        assert by_name[axis].step_metric == ""


def test_an_offline_run_has_everything():
    folder = made_folder()
    told = logged(folder, range(5))
    found = list(records(offline_file(folder)))
    begun = next(r.run for r in found if r.WhichOneof("record_type") == "run")
    assert (begun.run_id, begun.run_group, begun.job_type) == ("r0123456789a-2", "baselines", "train")
    assert (begun.display_name, list(begun.tags)) == ("digits-mlp", ["vision", "adam"])
    config = {u.key: json.loads(u.value_json) for r in found for u in (*r.run.config.update, *r.config.update)}
    assert {key: config[key] for key in CONFIG} == CONFIG
    rows = offline_rows(offline_file(folder))
    assert [entry["_step"] for entry in rows] == list(range(5))
    assert [{key: entry[key] for key in row(0)} for entry in rows] == [row(number) for number in range(5)]
    assert told["mode"] == "offline"
    assert told["why"] is None
    assert folder.path / told["place"] == offline_file(folder).parent


def test_a_resumed_online_run_goes_on_as_the_same_run(server):
    folder = made_folder()
    first = logger(folder)
    first.log_hyperparams(CONFIG)
    for number in range(6):
        first.log_metrics(row(number))
    first.finish(summary("preempted"))
    assert server.runs["r0123456789a-2"].exit_code == 1
    assert server.runs["r0123456789a-2"].preempting
    logged(folder, range(9))  # all rows come again, as after every resume
    [run] = server.runs.values()
    assert [entry["v"] for entry in run.history] == list(range(9))
    assert [entry["_step"] for entry in run.history] == list(range(9))
    assert run.exit_code == 0


def test_each_offline_segment_has_all_rows():
    folder = made_folder()
    first = logged(folder, range(4), status="preempted")
    (folder.path / first["place"]).rename(folder.path / "wandb" / "offline-run-before")  # W&B's names are of seconds
    told = logged(folder, range(7))
    wandb.teardown()
    assert len(list(folder.path.glob("wandb/offline-run-*"))) == 2
    [file] = (folder.path / told["place"]).glob("*.wandb")
    assert [entry["v"] for entry in offline_rows(file)] == list(range(7))


@pytest.mark.parametrize(
    ("said", "environment", "netrc", "mode"),
    [
        ("auto", {}, "", "offline"),
        ("auto", {"WANDB_API_KEY": ""}, "", "offline"),
        ("auto", {"WANDB_API_KEY": KEY}, "", "online"),
        ("auto", {}, f"machine api.wandb.ai login user password {KEY}", "online"),
        ("auto", {}, f"machine other.org login user password {KEY}", "offline"),
        ("auto", {"WANDB_BASE_URL": "https://w.org:8080"}, f"machine w.org login user password {KEY}", "online"),
        ("auto", {}, "no netrc file at all", "offline"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", "offline"),
        ("auto", {"WANDB_API_KEY": KEY, "WANDB_MODE": "dryrun"}, "", "offline"),
        ("auto", {"WANDB_MODE": "online"}, "", "online"),
        ("auto", {"WANDB_MODE": "disabled"}, "", "disabled"),
        ("offline", {"WANDB_API_KEY": KEY, "WANDB_MODE": "online"}, "", "offline"),
        ("online", {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "", "online"),
    ],
)
def test_the_mode(said, environment, netrc, mode, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    file = Path(os.environ["NETRC"])
    file.write_text(netrc)
    file.chmod(0o600)
    assert wandb_logger.chosen_mode(said) == mode


def test_an_unknown_mode_in_the_environment_is_named(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "onlin")
    with pytest.raises(ConfigError, match=r"WANDB_MODE=onlin is unknown; allowed are online, offline and disabled\."):
        wandb_logger.chosen_mode("auto")


def test_online_without_a_key_goes_offline_and_never_prompts(monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("prompted"))
    folder = made_folder()
    told = logged(folder, range(3), mode="online")
    assert told["mode"] == "offline"
    assert told["why"] == "there is no API key"
    assert len(offline_rows(offline_file(folder))) == 3


def test_disabled_leaves_nothing(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    folder = made_folder()
    assert logged(folder, range(3)) == {}
    assert not list(folder.path.rglob("*.wandb"))


@pytest.fixture(params=["hangs", "refuses", "unknown", "breaks", "forbids"])
def bad_server(request, server, monkeypatch):
    """A server that is of no use."""
    if request.param == "hangs":
        server.hangs.set()
    if request.param == "refuses":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    if request.param == "unknown":
        monkeypatch.setenv("WANDB_BASE_URL", "http://no-such-host.invalid")
    server.status = {"breaks": 500, "forbids": 401}.get(request.param, 200)
    return server


def test_a_server_that_does_not_answer_turns_the_run_offline_in_time(bad_server, monkeypatch, capsys):
    monkeypatch.setattr(wandb_logger, "START_S", 1.0)
    folder = made_folder()
    began = time.perf_counter()
    told = logged(folder, range(3))
    assert time.perf_counter() - began < 1.0 + SPARE_S
    assert told["mode"] == "offline"
    assert told["why"]
    assert [entry["v"] for entry in offline_rows(offline_file(folder))] == [0, 1, 2]
    assert capsys.readouterr().err == ""
    show(folder)
    said = capsys.readouterr().out
    assert f"offline: wandb leet {offline_file(folder).parent}   steepest sync {folder.path}" in said
    assert told["why"] in said
    assert_no_key(folder)


def test_a_server_that_hangs_during_the_run_costs_little_and_the_rows_come_later(server, monkeypatch, capsys):
    monkeypatch.setattr(wandb_logger, "FINISH_S", 1.0)
    folder = made_folder(rows=2000)
    mirror = logger(folder)
    mirror.log_hyperparams(CONFIG)
    for number in range(10):
        mirror.log_metrics(row(number))
    server.hangs.set()
    began = time.perf_counter()
    for number in range(10, 2000):
        mirror.log_metrics(row(number))
    assert time.perf_counter() - began < 5
    began = time.perf_counter()
    mirror.finish(summary())
    assert time.perf_counter() - began < 1.0 + END_SPARE_S
    assert read_json(folder.path / "wandb" / "mirror.json")["arrived"] is None
    show(folder)
    assert f"not all has arrived: steepest sync {folder.path}" in capsys.readouterr().out
    server.hangs.clear()
    assert main(["sync"]) == 0
    [run] = server.runs.values()
    assert [entry["v"] for entry in run.history] == list(range(2000))
    assert_no_key(folder)


def test_wandb_that_dies_during_the_run_does_not_break_it(server, capsys):
    folder = made_folder(rows=5)
    mirror = logger(folder)
    mirror.log_hyperparams(CONFIG)
    mirror.log_metrics(row(0))
    os.kill(service_pid(), signal.SIGKILL)
    while service_pid():  # it stays on as a zombie for a moment
        pass
    for number in range(1, 5):
        mirror.log_metrics(row(number))
    while mirror._run:  # noticed only when something is sent after the connection is known to be gone
        mirror.log_metrics(row(4))
    mirror.experiment.log({"something": 1})
    mirror.finish(summary())
    assert read_json(folder.path / "wandb" / "mirror.json")["arrived"] is None
    assert main(["sync"]) == 0
    assert [entry["v"] for entry in server.runs["r0123456789a-2"].history] == list(range(5))


def service_pid():
    """The process of wandb that this one has started; None if it is gone."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone in between
            name, _, rest = stat.read_text().rpartition(")")
            if rest.split()[:2] in (["S", str(os.getpid())], ["R", str(os.getpid())]) and "(wandb-core" in name:
                return int(stat.parent.name)
    return None


def assert_no_key(folder):
    files = [path for path in folder.path.rglob("*") if path.is_file()]
    assert any("wandb" in path.parts for path in files)
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_a_key_is_nowhere_in_an_offline_run_folder(server):
    words = ["model=logistic", "threads=1", "callbacks=none", "logger=[wandb,csv,tensorboard]", "budget.epochs=1"]
    cfg = compose([*words, "logger.wandb.mode=offline"])
    train(cfg)
    folder = RunFolder(Path(cfg.paths.runs_dir) / run_id(resolved(cfg)))
    assert_no_key(folder)
    assert folder.log_file.is_file()


def test_a_run_arrives_whole_and_the_closing_summary_says_where(server, capsys):
    words = ["model=logistic", "threads=1", "callbacks=none", "logger=[wandb,csv,tensorboard]", "budget.epochs=2"]
    cfg = compose(words)
    train(cfg)
    folder = RunFolder(Path(cfg.paths.runs_dir) / run_id(resolved(cfg)))
    [run] = server.runs.values()
    assert run.id == f"{folder.path.name}-1"
    config = OmegaConf.to_container(OmegaConf.load(folder.config_file))
    assert run.config == {key: value for key, value in config.items() if value != {}}  # W&B drops empty ones
    sent = [{k: v for k, v in entry.items() if not k.startswith("_")} for entry in run.history]
    assert sent == folder.rows()
    names = {"lr", "train/loss", "train/grad_norm", "train/update_norm", "train/examples_per_s", "val/accuracy"}
    assert names <= set().union(*sent)
    assert run.summary["headline"] == folder.summary["headline"]
    assert run.summary["source_digest"] == folder.status["source_digest"]
    assert run.summary["command"] == folder.status["command"]
    assert run.summary["test/accuracy"] == folder.summary["metrics"]["test/accuracy"]
    assert f"W&B         {server.url}/team/steepest/runs/{run.id}" in capsys.readouterr().out
    main(["sync"])
    assert "Nothing to upload" in capsys.readouterr().out
    assert_no_key(folder)


def test_a_server_that_hangs_does_not_hold_up_the_end_of_the_process(server):
    server.hangs.set()
    folder = made_folder()
    program = """
        import sys, time
        from steepest.runs import wandb_logger
        wandb_logger.START_S = 1.0
        mirror = wandb_logger.WandbLogger(sys.argv[1], "steepest", None, "auto", "some-id", "name", None, [])
        mirror.log_hyperparams({"seed": 0})
        mirror.log_metrics({"opt_step": 1})
        mirror.finish({"status": "finished"})
        print(time.time())
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.time() - float(done.stdout) < END_SPARE_S
    assert "Traceback" not in done.stderr
    assert "wandb:" not in done.stderr  # its own lines


# --- of studies and sweeps ---

STUDY = {"name": "domains", "scale": "smoke", "row": "gan", "contender": "adam", "phase": "search", "trial": 3}


def test_a_run_of_a_study_stands_in_its_group_under_its_phase(server):
    folder = made_folder()
    mirror = WandbLogger(str(folder.path), "steepest", None, "auto", "some-id", "name", "domains/gan/adam", ["gan"])
    mirror.log_hyperparams({**CONFIG, "study": STUDY})
    mirror.finish(summary())
    [run] = server.runs.values()
    assert (run.told("groupName"), run.told("jobType")) == ("domains/gan/adam", "search")
    assert run.config["study"] == STUDY


def test_sync_keeps_the_phase(server):
    made_folder(rows=1, study=STUDY)
    main(["sync"])
    assert server.runs["r0123456789a-2"].told("jobType") == "search"


def test_what_is_too_long_for_wandb_is_cut(server):
    folder = made_folder()
    group, tags = "study/" + "row" * 60, ["a" * 70, "", "short"]
    mirror = WandbLogger(str(folder.path), "steepest", None, "auto", "some-id", "name", group, tags)
    mirror.log_hyperparams(CONFIG)
    mirror.finish(summary())
    [run] = server.runs.values()
    assert run.told("groupName") == group[:128]
    assert run.told("tags") == ["a" * 64, "short"]
    assert within({"group": None, "tags": None}) == {"group": None, "tags": []}


def test_the_summary_has_a_column_for_each_number():
    whole = summary() | {"metrics": {"val/accuracy": 0.75, "best/val/accuracy": 0.8, "best/opt_step": 4}}
    found = columns("finished", whole | {"opt_steps": 100, "memory_mb": 512})
    assert {key: found[key] for key in ("val/accuracy", "best/val/accuracy", "headline/last", "headline/best")} == {
        "val/accuracy": 0.75,
        "best/val/accuracy": 0.8,
        "headline/last": 0.75,
        "headline/best": 0.8,
    }
    assert (found["diverged"], found["status"], found["memory_mb"]) == (0, "finished", 512)
    assert found["step_ms"] == pytest.approx(15.0)
    assert found["examples_per_s"] == pytest.approx(576 / 1.5)
    assert "metrics" not in found


def test_a_diverged_run_says_so_and_has_no_value(server):
    folder = made_folder()
    mirror = logger(folder)
    mirror.log_hyperparams(CONFIG)
    mirror.log_metrics({**row(0), "val/loss": 2.5})
    headline = {"metric": "val/loss", "value": None, "direction": "min"}
    mirror.finish({**summary("diverged"), "headline": headline, "metrics": {"val/loss": 2.5, "val/accuracy": 0.1}})
    found = server.runs["r0123456789a-2"].summary
    assert found["diverged"] == 1
    assert found["val/accuracy"] == 0.1
    assert found.get("val/loss") is None  # not 2.5, which it had before
    assert not {"headline/last", "headline/best"} & {*found}


@pytest.mark.parametrize("short", [{}, {"status": "failed", "wall_s": 0, "opt_steps": 0}])
def test_the_summary_of_a_run_without_steps(short):
    assert columns("failed", short) == {**short, "status": "failed", "diverged": 0}


def test_the_summary_wins_over_the_last_row(server):
    folder = made_folder()
    mirror = logger(folder)
    mirror.log_hyperparams(CONFIG)
    mirror.log_metrics({**row(0), "test/accuracy": 0.25})
    mirror.finish(summary())
    [run] = server.runs.values()
    assert run.summary["test/accuracy"] == summary()["metrics"]["test/accuracy"]
    assert [entry["test/accuracy"] for entry in run.history] == [0.25]


def test_a_metric_keeps_its_name_in_the_summary(server):
    """`define_metric(summary="min")` would make `val/loss` a mapping, which no sweep or panel finds."""
    folder = made_folder()
    mirror = logger(folder)
    mirror.log_hyperparams(CONFIG)
    mirror.log_metrics({**row(0), "val/loss": 0.5})
    mirror.log_metrics({**row(2), "val/loss": 0.7})
    mirror.finish(summary())
    assert server.runs["r0123456789a-2"].summary["val/loss"] == 0.7


def test_what_a_sweep_has_stopped_is_not_offered_to_its_agents_again(server, monkeypatch):
    for name, value in {"SWEEP_ID": "sw33p", "RUN_ID": "agents", "PROJECT": "theirs", "ENTITY": "team"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    logged(made_folder(), range(2), status="preempted")
    [run] = server.runs.values()
    assert not run.preempting
    assert run.exit_code == 1


def test_in_a_sweep_the_run_is_the_agents(server, monkeypatch, capfd):
    parameters = Path("parameters.yaml").absolute()
    parameters.write_text("wandb_version: 1\noptimizer.lr:\n  value: 0.25\n")
    agent = {"SWEEP_ID": "sw33p", "RUN_ID": "agents", "PROJECT": "theirs", "ENTITY": "team"}
    for name, value in (agent | {"SWEEP_PARAM_PATH": str(parameters)}).items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    folder = made_folder(rows=3)
    told = logged(folder, range(2))
    assert capfd.readouterr() == ("", "")
    [run] = server.runs.values()
    assert (run.id, run.told("sweep"), run.told("project")) == ("agents", "sw33p", "theirs")
    assert run.config == {**ON_WANDB, "optimizer.lr": 0.25}
    assert (told["id"], told["project"], told["entity"]) == ("agents", "theirs", "team")
    assert told["url"] == f"{server.url}/team/theirs/runs/agents"
    for name in (*agent, "SWEEP_PARAM_PATH"):
        monkeypatch.delenv(f"WANDB_{name}")
    wandb.teardown()  # another process, after the sweep
    assert main(["sync"]) == 0
    [run] = server.runs.values()
    assert [entry["v"] for entry in run.history] == [0, 1, 2]
    assert run.upserts[-1]["project"] == "theirs"


# --- steepest sync ---


@pytest.fixture
def offline_environment(monkeypatch):
    """As in a job on a machine without net; sync is asked for and goes online all the same."""
    monkeypatch.setenv("WANDB_MODE", "offline")


def test_sync_uploads_what_is_not_there_and_only_once(server, offline_environment, capsys):
    made_folder("runs/a", rows=5, run={**CONFIG["run"], "id": "a"})
    made_folder("runs/b", rows=3, status="diverged", run={**CONFIG["run"], "id": "b", "attempt": 1})
    assert main(["sync"]) == 0
    assert f"runs/a: 5 rows, finished: {server.url}/team/configured/runs/a-2" in capsys.readouterr().out
    assert set(server.runs) == {"a-2", "b-1"}
    run = server.runs["a-2"]
    assert run.config == {**ON_WANDB, "run": {**CONFIG["run"], "id": "a"}}
    assert [entry["v"] for entry in run.history] == [0, 1, 2, 3, 4]
    assert run.summary["headline"] == summary()["headline"]
    assert (run.told("groupName"), run.told("tags")) == ("baselines", ["vision", "adam"])
    assert server.runs["b-1"].summary["status"] == "diverged"
    upserts = len(run.upserts)
    assert main(["sync"]) == 0
    assert "Nothing to upload" in capsys.readouterr().out
    assert len(run.upserts) == upserts
    assert main(["sync", "runs/a"]) == 0  # a run that is named is uploaded again, and nothing comes twice
    assert [entry["v"] for entry in run.history] == [0, 1, 2, 3, 4]


def test_sync_brings_a_cut_run_and_later_the_rest_as_one(server, capsys):
    folder = made_folder(rows=4, status="preempted")
    main(["sync"])
    assert server.runs["r0123456789a-2"].exit_code == 1
    with folder.metrics_file.open("a") as file:
        file.write("".join(json.dumps(row(number)) + "\n" for number in range(4, 9)) + '{"torn": 1')
    write_json(folder.path / "status.json", {"status": "finished", "attempt": 2})
    main(["sync"])
    [run] = server.runs.values()
    assert [entry["v"] for entry in run.history] == list(range(9))
    assert run.exit_code == 0


def test_sync_calls_a_run_whose_process_has_died_crashed(server, capsys):
    folder = made_folder(rows=2, status="running")
    (folder.path / "summary.json").unlink()
    main(["sync"])
    assert "2 rows, crashed" in capsys.readouterr().out
    assert server.runs["r0123456789a-2"].exit_code == 1


def test_sync_leaves_out_what_runs_and_says_so(server, capsys):
    folder = made_folder(rows=2, status="running")
    with lock(folder.path / "lock"):
        assert main(["sync"]) == 0
    assert "is running, left out" in capsys.readouterr().out
    assert not server.runs


def test_sync_makes_one_wandb_run_of_each_attempt(server):
    folder = made_folder(rows=3)
    made_folder(folder.path / "attempts" / "1", rows=2, status="diverged", run={**CONFIG["run"], "attempt": 1})
    main(["sync"])
    assert {name: len(run.history) for name, run in server.runs.items()} == {"r0123456789a-1": 2, "r0123456789a-2": 3}


def test_sync_uploads_to_the_project_and_entity_that_it_is_told(server):
    made_folder(rows=1)
    main(["sync", "--project", "other", "--entity", "team", "runs/r0123456789a"])
    [run] = server.runs.values()
    assert (run.told("project"), run.told("entity")) == ("other", "team")


def test_a_dry_run_uploads_nothing_and_needs_no_key(capsys):
    folder = made_folder(rows=3)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    assert main(["sync", "--dry-run"]) == 0
    assert capsys.readouterr().out == "runs/r0123456789a: 3 rows, finished, would be uploaded\n"
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "There is no API key for W&B; allowed is the environment's WANDB_API_KEY or `wandb login`."),
        (["--runs-dir", "nowhere"], "--runs-dir=nowhere is no folder"),
        (["r9"], "'r9' is no run folder"),
    ],
)
def test_what_sync_cannot_do_is_one_sentence(arguments, sentence, capsys):
    made_folder(rows=1)
    assert main(["sync", *arguments]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_sync_to_a_server_that_refuses_is_one_sentence(server, capsys):
    server.status = 401
    folder = made_folder(rows=1)
    assert main(["sync"]) == 2
    said = capsys.readouterr().err
    assert f"{folder.path} is not uploaded: 127.0.0.1 could not begin the run" in said
    assert said.count("\n") == 1
    assert not (folder.path / "wandb").exists()


def test_sync_does_not_import_torch():
    made_folder(rows=1)
    program = "import sys, steepest.cli as c; c.main(['sync', '--dry-run']); import steepest.runs.wandb_run; "
    program += "print([m for m in ('torch', 'pytorch_lightning') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_key_in_an_error_is_not_written_down(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert has_key()
    assert wandb_logger.without_key(ValueError(f"bad {KEY}\nand more")) == "bad <key>"


def test_closing_says_nothing_of_wandb_where_there_is_none(capsys):
    show(made_folder())
    assert "W&B" not in capsys.readouterr().out
