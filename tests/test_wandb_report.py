"""The W&B report of a study: its specification without a network, and the saved one on a server of ours."""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import wandb
from fake_wandb import KEY, serving, without_login

from steepest import wandb_report
from steepest.errors import ConfigError
from steepest.studies.study import load_study
from steepest.wandb_report import COLUMNS, main

STUDY = """
question: Which optimizer?
source: a test
common:
  direction: max
  metric: test/accuracy
  select: val/accuracy
  worst: 0.1
  margin: 0.01
  search: {keys: [lr, "betas[1]"], trials: 2}
rows:
  vision:
    claim: SGD is | better.
    condition: batches of 64
    recommended: sgd_momentum
    search: {keys: [lr], choices: {schedule: [cosine, step], batch.size: [64, 128]}}
    contenders: [sgd_momentum, adam]
  text:
    claim: AdamW is better.
    condition: always
    recommended: adamw
    contenders: [adamw, lion, adam]
"""


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    """wandb reads the environment once a process."""
    wandb.teardown()
    without_login(monkeypatch, tmp_path / "home")
    Path("mine").mkdir()
    Path("mine/study.yaml").write_text(STUDY)
    yield
    with suppress(Exception):
        wandb.teardown()


@pytest.fixture
def server(monkeypatch):
    with serving() as fake:
        monkeypatch.setenv("WANDB_BASE_URL", fake.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield fake


def verdict(row="vision", **more):
    told = {
        **{"row": row, "claim": "c", "condition": "b", "verdict": "confirmed", "reason": "better | than\nall"},
        **{"recommended": "sgd_momentum", "best_rival": "adam", "metric": "test/accuracy", "direction": "max"},
        **{"value": 0.91237, "low": 0.9, "high": 0.925, "n": 8, "rival_value": 0.85, "seeds_needed": None},
    }
    return told | more


def written(*verdicts, file="verdicts.csv"):
    pd.DataFrame([*verdicts], columns=[*COLUMNS]).to_csv(file, index=False)
    return file


def specified(*words):
    main(["study=mine/study.yaml", "--wandb", "team/steepest", *words, "--dry-run", "spec.json"])
    return json.loads(Path("spec.json").read_text())


def blocks(spec, kind):
    return [block for block in spec["spec"]["blocks"] if block["type"] == kind]


def text_of(block):
    return "".join(child.get("text", "") for child in block["children"])


def grids(spec):
    return [block["metadata"] for block in blocks(spec, "panel-grid")]


def panels_of(grid):
    return grid["panelBankSectionConfig"]["panels"]


def test_every_row_is_there_under_its_heading(capsys):
    spec = specified("--verdicts", written(verdict()))
    assert [(block["level"], text_of(block)) for block in blocks(spec, "heading") if block["level"] < 3] == [
        (1, "mine: verdicts"),
        (2, "vision"),
        (2, "text"),
    ]
    assert (spec["project"]["entityName"], spec["project"]["name"]) == ("team", "steepest")
    assert spec["displayName"] == "mine, scale small"
    assert len(grids(spec)) == 4
    assert "spec.json: the report's specification, of 2 rows" in capsys.readouterr().out


def test_the_verdict_table_is_whole():
    spec = specified("--verdicts", written(verdict()))
    [block] = blocks(spec, "markdown-block")
    head, line, vision, text = block["content"].splitlines()
    assert {head.count("|"), line.count("|"), text.count("|")} == {12}
    assert vision.replace("\\|", "").count("|") == 12  # what is in the claim and the reason does not split a cell
    assert "SGD is \\| better." in vision
    assert "**confirmed**: better \\| than all" in vision
    assert "test/accuracy | 0.9124 (0.9 to 0.925) | 8 | adam | 0.85 | - |" in vision
    assert "**not judged yet**" in text
    assert "nan" not in block["content"]


@pytest.mark.parametrize(("place", "phases"), [(0, ["evaluate"]), (1, ["search", "reserve"])])
def test_a_run_set_of_each_contender(place, phases):
    grid = grids(specified("scale=smoke"))[2 + place]  # of the second row
    assert [runset["name"] for runset in grid["runSets"]] == ["adamw", "lion", "adam"]
    for runset in grid["runSets"]:
        found = {
            (one["key"]["section"], one["key"]["name"]): (one["op"], one["value"])
            for one in runset["filters"]["filters"]
        }
        assert found == {
            ("run", "group"): ("=", f"mine/text/{runset['name']}"),
            ("run", "jobType"): ("IN", phases),
            ("run", "tags"): ("IN", ["smoke"]),
        }
        assert all(one.get("connector", "AND") == "AND" for one in runset["filters"]["filters"])
        assert runset["enabled"] is True


def test_curves_and_the_result_of_the_evaluation():
    found = panels_of(grids(specified())[0])
    curves = [panel["config"] for panel in found if panel["viewType"] == "Run History Line Plot"]
    assert {(one["xAxis"], *one["metrics"]) for one in curves} == {
        ("opt_step", "val/accuracy"),
        ("examples", "val/accuracy"),
        ("opt_step", "train/loss"),
        ("examples", "train/loss"),
    }
    assert {one["groupBy"] for one in curves} == {"group"}
    [bar] = [panel["config"] for panel in found if panel["viewType"] == "Bar Chart"]
    assert (bar["metrics"], bar["groupBy"], bar["groupAgg"]) == (["test/accuracy"], "group", "mean")


def test_what_was_searched_and_the_learning_rate():
    first, second = (panels_of(grids(specified())[number]) for number in (1, 3))
    parallel, scatter = (panel["config"] for panel in second)
    assert [column["accessor"] for column in parallel["columns"]] == [
        "config:optimizer.value.lr",
        "config:entries.value.betas_1",
        "summary:diverged",
        "summary:val/accuracy",
    ]
    assert parallel["columns"][0]["log"] is True
    assert (scatter["xAxis"], scatter["yAxis"]) == ("config:optimizer.value.lr", "summary:val/accuracy")
    assert scatter["xAxisLogScale"] is True
    assert [column["accessor"] for column in first[0]["config"]["columns"]][:3] == [
        "config:choices.value.schedule",
        "config:batch.value.size",
        "config:optimizer.value.lr",
    ]


def test_no_panel_lies_on_another():
    for grid in grids(specified()):
        taken = set()
        for panel in panels_of(grid):
            layout = panel["layout"]
            cells = {
                (x, y)
                for x in range(layout["x"], layout["x"] + layout["w"])
                for y in range(layout["y"], layout["y"] + layout["h"])
            }
            assert not cells & taken
            assert max(x for x, _ in cells) < 24
            taken |= cells


def test_rows_can_be_chosen_and_a_long_name_is_cut():
    Path("mine").rename("m" * 150)
    main([f"study={'m' * 150}/study.yaml", "rows=text", "--dry-run", "spec.json"])
    spec = json.loads(Path("spec.json").read_text())
    assert [text_of(block) for block in blocks(spec, "heading") if block["level"] == 2] == ["text"]
    assert len(spec["displayName"]) == 128
    [group, *_] = grids(spec)[0]["runSets"][0]["filters"]["filters"]
    assert len(group["value"]) == 128


@pytest.mark.parametrize("scale", ["smoke", "small", "full"])
def test_the_recommendation_table(scale):
    main(["study=domains", f"scale={scale}", "--dry-run", "spec.json"])
    spec = json.loads(Path("spec.json").read_text())
    rows = load_study("domains", scale).rows
    assert [text_of(block) for block in blocks(spec, "heading") if block["level"] == 2] == [row.name for row in rows]
    assert len(grids(spec)) == 2 * len(rows)


def test_the_verdicts_beside_the_study_are_taken():
    written(verdict(), file="mine/verdicts.csv")
    assert "**confirmed**" in blocks(specified(), "markdown-block")[0]["content"]


def test_verdicts_of_another_scale_do_not_count():
    frame = pd.DataFrame([verdict(), verdict(row="text", verdict="refuted")]).assign(scale=["small", "full"])
    frame.to_csv("mine/verdicts.csv", index=False)
    content = blocks(specified(), "markdown-block")[0]["content"]
    assert "**confirmed**" in content
    assert "**refuted**" not in content


def test_a_report_is_saved_and_its_address_printed(server, capsys):
    main(["study=mine/study.yaml", "--wandb", "team/steepest", "--verdicts", written(verdict())])
    [view] = server.views
    assert (view["entityName"], view["projectName"], view["type"]) == ("team", "steepest", "runs")
    assert "vision" in view["spec"]
    assert json.loads(view["spec"])["blocks"]
    assert capsys.readouterr().out == f"{server.url}/team/steepest/reports/mine,-scale-small--v1\n"


def test_the_entity_is_the_logins_where_none_is_said(server):
    main(["study=mine/study.yaml"])
    assert [(view["entityName"], view["projectName"]) for view in server.views] == [("team", "steepest")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "study is missing; allowed is study=NAME"),
        (["study=minf/study.yaml"], "study=minf/study.yaml is unknown"),
        (["study=mine/study.yaml", "scale=huge"], "scale=huge is unknown; allowed are"),
        (["study=mine/study.yaml", "rows=visio"], "rows=visio is unknown; did you mean vision?"),
        (["study=mine/study.yaml", "seed=3"], "seed=3 is not possible; allowed are study=NAME, scale=NAME and rows="),
        (["study=mine/study.yaml", "mine"], "mine is not possible; allowed are study=NAME"),
        (["study=mine/study.yaml", "--wandb", "team"], "--wandb=team is not possible; allowed is entity/project."),
        (["study=mine/study.yaml", "--wandb", "a/b/c"], "--wandb=a/b/c is not possible"),
        (["study=mine/study.yaml", "--verdicts", "none.csv"], "--verdicts=none.csv cannot be read"),
        (["study=mine/study.yaml", "--verdicts", "empty.csv"], "--verdicts=empty.csv cannot be read"),
        (["study=mine/study.yaml", "--verdicts", "short.csv"], "--verdicts=short.csv lacks claim, condition"),
        (["study=mine/study.yaml", "--verdicts", "other.csv"], "has no row of mine at this scale; allowed are vision"),
        (["study=mine/study.yaml", "--dry-run", "no/folder/x.json"], "--dry-run=no/folder/x.json cannot be written"),
        (["study=mine/study.yaml"], "There is no API key for W&B; allowed is the environment's WANDB_API_KEY"),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence):
    Path("empty.csv").write_text("")
    Path("short.csv").write_text("row,verdict\nvision,confirmed\n")
    written(verdict(row="rl"), file="other.csv")
    with pytest.raises(ConfigError) as caught:
        main(words)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_server_that_refuses_is_one_sentence(server):
    server.status = 401
    with pytest.raises(ConfigError) as caught:
        main(["study=mine/study.yaml", "--wandb", "team/steepest"])
    assert str(caught.value).startswith("127.0.0.1 has not taken the report: ")
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    assert not server.views


def test_without_the_extra_its_name_is_said(monkeypatch):
    monkeypatch.setattr(wandb_report, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"wandb-workspaces is not installed; .*steepest\[reports\]"):
        specified()


def test_the_command_imports_no_torch_before_it_knows_the_mistake():
    program = "import sys, steepest.wandb_report as r\ntry: r.main(['x'])\nexcept ValueError: pass\n"
    program += "print([m for m in ('torch', 'wandb', 'wandb_workspaces') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
