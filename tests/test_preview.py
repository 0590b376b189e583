"""The preview: what is drawn, as numbers, as text and as a picture; sweeps as Hydra expands them; bad input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from steepest import cli, curves, preview
from steepest.config import conf_dir
from steepest.errors import ConfigError

NAMES = sorted(path.stem for path in (conf_dir() / "schedule").glob("*.yaml"))
SCRIPT = Path(__file__).parents[1] / "scripts" / "preview.py"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def drawn_by(*overrides):
    return [preview.curve(job, varied) for job, varied in preview.jobs(list(overrides))]


def test_one_schedule_is_drawn_as_a_picture_and_as_plain_text(capsys, empty_folder):
    assert preview.main(["schedule=warmup_cosine"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "preview.png"
    assert "warmup_cosine" in lines[0]
    assert max(map(len, lines)) <= 80
    assert not any("\x1b" in line for line in lines)
    assert any("1,000 steps in 10 epochs" in line for line in lines)
    assert any("highest 0.1 at step 50" in line for line in lines)
    with Image.open(empty_folder / "preview.png") as picture:
        assert picture.width > 1000
        assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 10  # something is drawn


def test_glob_draws_every_schedule_there_is(capsys, empty_folder):
    assert preview.main(["schedule=glob(*)", "output=all.svg"]) == 0
    out = capsys.readouterr().out
    assert [name for name in NAMES if name not in out] == []
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[-1] == "all.svg"
    assert [path.name for path in empty_folder.iterdir()] == ["all.svg"]


@pytest.mark.parametrize("columns", [24, 57, 200])
def test_the_text_fits_the_terminal(columns):
    for drawn in (drawn_by("schedule=cosine,step,one_cycle"), drawn_by("schedule=one_cycle")):
        for colour in (False, True):
            text = curves.in_terminal(drawn, columns, colour)
            assert ("\x1b" in text) == colour
            if not colour:
                assert max(map(len, text.splitlines())) <= columns


def test_colour_is_for_terminals_that_want_it(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    preview.main(["schedule=constant"])
    assert "\x1b" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    preview.main(["schedule=constant"])
    assert "\x1b" not in capsys.readouterr().out


def test_overrides_reach_the_curve():
    (c,) = drawn_by("schedule=cosine", "optimizer.lr=0.3", "budget.steps=500", "schedule.min_ratio=0.1")
    t = np.arange(500)
    np.testing.assert_allclose(c.lr, 0.03 + 0.27 * np.cos(np.pi * t / 1000) ** 2)
    assert (c.title, c.total, c.steps[-1], c.settings) == ("cosine", 500, 499, "min_ratio=0.1")


def test_an_absolute_minimum_is_drawn():
    (c,) = drawn_by("schedule=polynomial", "optimizer=adam", "schedule.min_lr=1e-4")
    assert c.lr[0] == pytest.approx(1e-3)
    assert c.lr[-1] == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize(("overrides", "drop"), [([], 300), (["budget.epochs=5"], 600), (["budget.steps=100"], 30)])
def test_epochs_have_the_length_that_the_picture_states(overrides, drop):
    (c,) = drawn_by("schedule=step", "schedule.every='3 epochs'", *overrides)
    assert next(t for t in c.steps if c.lr[t] < c.lr[0]) == drop


def test_sweeps_expand_as_hydras_do():
    drawn = drawn_by("schedule=cosine,polynomial", "schedule.min_ratio=choice(0.0,0.5)", "optimizer.lr=1.0")
    assert [(c.title, round(c.lr[-1], 2)) for c in drawn] == [
        ("cosine min_ratio=0.0", 0.0),
        ("cosine min_ratio=0.5", 0.5),
        ("polynomial min_ratio=0.0", 0.0),
        ("polynomial min_ratio=0.5", 0.5),
    ]
    assert [c.title for c in drawn_by("schedule=glob(inverse*)")] == ["inverse_sqrt", "inverse_time"]


def test_without_a_schedule_the_configurations_own_is_drawn():
    assert [c.title for c in drawn_by()] == ["cosine"]


def test_a_cycled_momentum_has_an_axis_of_its_own():
    for name, axes in (("one_cycle", 2), ("cosine", 1)):
        (c,) = drawn_by(f"schedule={name}")
        figure = Figure()
        curves.draw(figure.subplots(), c, 10)
        assert len(figure.axes) == axes
        drawn = [axis.lines[0].get_ydata() for axis in figure.axes]
        np.testing.assert_allclose(drawn[0], c.lr)
        if c.momentum:
            np.testing.assert_allclose(drawn[1], c.momentum)
            assert (min(drawn[1]), max(drawn[1])) == (0.85, 0.95)


@pytest.mark.parametrize("steps", [1, 2, 61])
def test_short_runs_are_drawn(steps, capsys):
    assert preview.main(["schedule=one_cycle,cosine", f"budget.steps={steps}"]) == 0
    assert f"{steps} step" in capsys.readouterr().out


def test_a_long_run_is_thinned_out_to_its_last_step():
    (c,) = drawn_by("schedule=sgdr", "budget.steps=10_000_000")
    assert len(c.steps) == len(set(c.steps)) == preview.POINTS
    assert (c.steps[0], c.steps[-1]) == (0, 9_999_999)


def test_a_learning_rate_of_zero_is_drawn(capsys):
    assert preview.main(["schedule=cosine,step", "optimizer.lr=0.0"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["schedule=cosin"], "schedule=cosin does not exist; allowed are cosine, "),
        (["schedule=cosine,warmup_cosin"], "schedule=warmup_cosin does not exist; allowed are warmup_cosine, "),
        (["schedule=glob(zz*)"], "schedule=glob(zz*) matches nothing; allowed schedules are constant, "),
        (["schedule.min_lr=0.5"], "schedule.min_lr=0.5 exceeds the learning rate 0.1"),
        (["schedule.min_ratio=2"], "schedule.min_ratio=2 is out of range"),
        (["schedule.warmup=0.1"], "warmup"),
        (["schedule=wsd", "schedule.warmup=600", "schedule.decay=0.5"], "schedule.warmup=600 and schedule.decay=0.5"),
        (["optimizer.lr=fast"], "optimizer.lr=fast is not a number"),
        (["budget.steps=0"], "budget.steps=0 is out of range"),
        (["output=curve.txt"], "output=curve.txt is no picture; allowed are file names that end in .png"),
        (["output=missing/curve.png"], "output=missing/curve.png lies in a folder that does not exist"),
        (["schedule=[cosine"], "[cosine"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_no_file(arguments, message, capsys, empty_folder):
    try:
        code = cli.main(["preview", *arguments])
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert list(empty_folder.iterdir()) == []


def test_a_file_that_cannot_be_written_is_refused(empty_folder):
    (empty_folder / "taken.png").mkdir()
    with pytest.raises(ConfigError, match=r"output=taken\.png is no picture"):
        preview.main(["output=taken.png"])
    (empty_folder / "dangling.png").symlink_to("missing/curve.png")
    with pytest.raises(ConfigError, match=r"output=dangling\.png cannot be written \(No such file or directory\)"):
        preview.main(["output=dangling.png"])


def test_the_script_draws_without_importing_torch(empty_folder):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", SCRIPT, "schedule=glob(*)"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "preview.png"
    assert "matplotlib" in done.stderr
    assert "torch" not in done.stderr
    assert (empty_folder / "preview.png").stat().st_size > 10_000


def test_help_explains_itself(capsys):
    assert preview.main(["--help"]) == 0
    assert "schedule=glob(*)" in capsys.readouterr().out
