"""`steepest compare`: what it prints and writes."""

import os
from pathlib import Path

import pandas as pd
import pytest
from written_runs import write_run, write_study

from steepest.compare import main
from steepest.errors import ConfigError
from steepest.report.runs import load

RUNS = Path("runs")


def test_a_study_is_written_in_every_form(capsys):
    write_study(RUNS, seeds=3, trials=4)
    main(["--out", "out", "--target", "0.8"])
    said = capsys.readouterr().out
    assert "domains / vision / small: val/accuracy, higher is better" in said
    names = sorted(file.name for file in Path("out").iterdir())
    key = "domains-vision-small-val-accuracy-0"
    pictures = [f"{key}-{kind}.png" for kind in ("best-of-k", "curves", "differences", "lr")]
    assert names == sorted(["report.html", "table.md", "table.csv", "runs.csv", *pictures])
    assert all((Path("out") / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    table = pd.read_csv("out/table.csv").set_index("group")
    assert list(table.index) == ["adam", "sgd", "lion"]
    assert list(table.n) == [3, 3, 3]
    runs = pd.read_csv("out/runs.csv").set_index("run_id")
    ids = table.run_ids["adam"].split()
    assert table["mean"]["adam"] == pytest.approx(runs.result[ids].mean())
    assert "| adam |" in Path("out/table.md").read_text()


def test_sections_are_printed_apart(capsys):
    write_run(RUNS, 1)
    write_run(RUNS, 2, dataset="mnist", value=0.5)
    main([str(RUNS), "--by", "optimizer"])
    said = capsys.readouterr().out
    assert "classification on digits" in said
    assert "classification on mnist" in said
    assert "0.7" not in said  # their mean


def test_warnings_are_printed(capsys):
    write_run(RUNS, 1, digest="one")
    write_run(RUNS, 2, digest="two", seed=1)
    (RUNS / "r00000000001" / "metrics.jsonl").open("a").write("{")
    main([])
    said = capsys.readouterr().out
    assert "note: adam has runs of 2 source digests (one and two)" in said
    assert "1 torn line left out." in said
    assert "> adam has runs" in Path("comparison/table.md").read_text()


def test_names_are_shown_as_they_are(capsys):
    write_run(RUNS, 1, optimizer="[red]$x^{$_</script>")
    write_run(RUNS, 2, optimizer="_hidden", value=0.8)
    main([])
    assert "[red]$x^{$_</script>" in capsys.readouterr().out


def test_a_sweep_by_a_key(capsys):
    for i in range(8):
        write_run(RUNS, i, lr=10.0 ** -(i % 4), seed=i // 4, value=0.5 + 0.1 * (i % 4))
    main(["--by", "optimizer.lr"])
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines()[2:6]] == ["0.001", "0.01", "0.1", "1.0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere is no run"),
        (["--by", "optimiser"], "--by=optimiser is in no run's config.yaml; did you mean optimizer"),
        (["--metric", "val/loss"], "--metric=val/loss is in no run;"),
        (["--out", "file"], "--out=file cannot be written"),
        (["--target", "0.5"], "--target=0.5 fits one metric only; allowed is --metric with val/accuracy or val/f1"),
    ],
)
def test_mistakes_are_one_sentence(arguments, said):
    write_run(RUNS, 1)
    write_run(RUNS, 2, metric="val/f1")
    Path("file").write_text("")
    with pytest.raises(ConfigError) as caught:
        main(arguments)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_runs_may_come_from_wandb(monkeypatch, capsys):
    write_run(RUNS, 1)
    asked = []
    monkeypatch.setattr("steepest.report.wandb_runs.load", lambda path: asked.append(path) or load([RUNS]))
    main(["--wandb", "me/digits"])
    assert asked == ["me/digits"]
    assert "classification on digits" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--wandb=me/digits stands beside runs; allowed is one of both"):
        main(["--wandb", "me/digits", "runs"])


def test_no_runs_at_all():
    with pytest.raises(ConfigError, match="runs is no run"):
        main([])


@pytest.mark.slow
def test_two_real_runs(capsys):
    from steepest.cli import main as command

    os.environ["WANDB_MODE"] = "offline"
    tiny = ["logger=none", "threads=1", "budget.steps=4", "seed=1"]
    for name in ("adam", "sgd"):
        assert command(["train", *tiny, f"optimizer={name}"]) == 0
    main(["--by", "optimizer"])
    said = capsys.readouterr().out
    assert "classification on digits: val/accuracy, higher is better" in said
    table = pd.read_csv("comparison/table.csv").set_index("group")
    assert set(table.index) == {"adam", "sgd"}
    assert set(table.opt_steps) == {4}
