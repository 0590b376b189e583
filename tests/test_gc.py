import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steepest.cli import main
from steepest.gc import size
from steepest.runs.folder import RunFolder

RUNS = Path("runs")
DEAD = 2**22 + 1  # above the largest process number that Linux gives


def made(name="r0123456789a", status="finished", attempt=3, aside=(1, 2), steps=(10, 20), runs=RUNS):
    """A run folder as training leaves it."""
    folder = runs / name
    files = {"checkpoints/last.ckpt": 9000, "checkpoints/best.ckpt": 5000, "metrics.jsonl": 50, "log.txt": 10}
    files |= {f"checkpoints/step-{step}.ckpt": 9000 + step for step in steps}
    for number in aside:
        files |= {f"attempts/{number}/checkpoints/last.ckpt": 7000, f"attempts/{number}/status.json": 100}
    for file, length in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(b"x" * length)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "status.json").write_text(json.dumps({"status": status, "attempt": attempt}))
    (folder / "lock").write_text("process 1 on a machine\n")
    return folder


def content(root="."):
    """Every path below a folder with what it holds; what a lock file says is left out."""
    return {
        path.relative_to(root): None if path.is_dir() or path.name == "lock" else path.read_bytes()
        for path in Path(root).rglob("*")
    }


def blocks(path):
    """Bytes on disk, as du counts them."""
    return int(subprocess.run(["du", "-sB1", str(path)], capture_output=True, text=True, check=True).stdout.split()[0])


def kept(before, *gone):
    """What is left of `before` without these paths and all below them."""
    gone = [Path(path) for path in gone]
    return {path: value for path, value in before.items() if not any(place in (path, *path.parents) for place in gone)}


def test_a_finished_run_keeps_its_result(capsys):
    folder = made()
    before, held = content(), blocks(folder)
    assert main(["gc", "--yes"]) == 0
    gone = ["attempts/1", "attempts/2", "checkpoints/step-10.ckpt", "checkpoints/step-20.ckpt"]
    assert content() == kept(before, *(folder / path for path in gone))
    said = capsys.readouterr().out
    assert all(str(folder / path) in said for path in gone)
    assert said.endswith(f"{size(held - blocks(folder))} freed.\n")
    assert main(["gc", "--yes"]) == 0
    assert capsys.readouterr().out == "Nothing to free.\n"


def test_without_a_terminal_nothing_is_freed_but_with_yes(capsys):
    folder = made()
    before = content()
    assert main(["gc"]) == 0
    assert content() == before
    said = capsys.readouterr().out
    assert "can be freed, nothing was; --yes frees it." in said
    assert str(folder / "attempts/1") in said


@pytest.mark.parametrize(("answer", "freed"), [("y", True), ("YES", True), ("n", False), ("", False), ("x", False)])
def test_at_a_terminal_it_asks(monkeypatch, capsys, answer, freed):
    folder = made()
    questions = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: (questions.append(question), answer)[1])
    assert main(["gc"]) == 0
    assert len(questions) == 1
    assert questions[0].endswith("? [y/N] ")
    assert questions[0].removeprefix("Free ").partition("?")[0] in capsys.readouterr().out or freed
    assert (folder / "attempts/1").exists() is not freed


@pytest.mark.parametrize("status", ["running", "preempted", "failed"])
def test_a_cut_run_keeps_the_checkpoints_that_it_may_fall_back_to(status):
    folder = made(status=status)
    before = content()
    assert main(["gc", "--yes"]) == 0
    assert content() == kept(before, folder / "attempts/1", folder / "attempts/2")


def test_an_ended_run_without_its_last_checkpoint_keeps_the_older_ones():
    folder = made(aside=())
    (folder / "checkpoints/last.ckpt").unlink()
    before = content()
    assert main(["gc", "--yes"]) == 0
    assert content() == before


def test_a_run_that_a_living_process_works_in_is_left_alone(capsys):
    busy, idle = made("rb"), made("rc")
    code = f"""
import sys
from steepest.runs.folder import RunFolder
from pathlib import Path
with RunFolder(Path({str(busy)!r})).held():
    print("held", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        before = content(busy)
        assert main(["gc", "--yes"]) == 0
        assert content(busy) == before
        other.stdin.close()
    assert f"{busy}: in use, left alone" in capsys.readouterr().out
    assert not list((idle / "attempts").iterdir())


def test_a_run_that_begins_after_the_question_is_left_alone(monkeypatch, capsys):
    folder = made()
    before = content()
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with ExitStack() as stack:
        monkeypatch.setattr("builtins.input", lambda _: (stack.enter_context(RunFolder(folder).held()), "y")[1])
        assert main(["gc"]) == 1
    assert content() == before
    printed = capsys.readouterr()
    assert "is in use by this process" in printed.err
    assert printed.out.endswith("\n0 B freed.\n")


def test_an_attempt_that_was_only_half_moved_aside_is_kept():
    folder = made(attempt=2)
    before = content()
    assert main(["gc", "--yes", "--no-checkpoints"]) == 0
    assert content() == kept(before, folder / "attempts/1")


@pytest.mark.parametrize(
    ("options", "gone"),
    [
        (["--no-attempts"], ["checkpoints/step-10.ckpt", "checkpoints/step-20.ckpt"]),
        (["--no-checkpoints"], ["attempts/1", "attempts/2"]),
        (["--no-attempts", "--no-checkpoints"], []),
    ],
)
def test_what_is_freed_can_be_chosen(options, gone):
    folder = made()
    before = content()
    assert main(["gc", "--yes", *options]) == 0
    assert content() == kept(before, *(folder / path for path in gone))


def test_only_the_runs_that_are_named(capsys):
    one, two = made("rb0"), made("rc0")
    before = content(two)
    assert main(["gc", "--yes", "rb", str(one)]) == 0  # the same one twice
    assert content(two) == before
    assert not (one / "attempts/1").exists()
    assert main(["gc", "--yes", "--runs-dir", "runs", "rd"]) == 2
    assert "'rd' is no run folder" in capsys.readouterr().err


def test_leftovers_of_dead_writers_only():
    folder = made(aside=(), steps=())
    dead = [folder / f".status.json.{DEAD}.tmp", folder / f"checkpoints/.last.ckpt.{DEAD}.tmp"]
    others = [folder / f".status.json.{os.getpid()}.tmp", folder / "x.1.tmp", folder / ".notes.tmp", folder / ".a.tmp"]
    for file in (*dead, *others):
        file.write_text("x")
    before = content()
    assert main(["gc", "--yes"]) == 0
    assert content() == kept(before, *dead)


def test_links_are_not_followed(tmp_path):
    outside = made("ra", runs=tmp_path / "outside")
    folder = made("rb", steps=(), aside=())
    (RUNS / "rc").symlink_to(outside)
    (folder / "attempts").symlink_to(outside / "attempts")
    (folder / "checkpoints/step-3.ckpt").symlink_to(outside / "checkpoints/last.ckpt")
    other = made("rd", aside=(1,), steps=())
    (other / "attempts/1/wandb").symlink_to(outside)
    (other / "attempts/2").symlink_to(outside / "attempts/1")
    locked = made("re")
    (locked / "lock").unlink()
    (locked / "lock").symlink_to(outside / "log.txt")
    before, far = content("runs"), content(outside)
    assert main(["gc", "--yes"]) == 0
    assert content(outside) == far
    assert content("runs") == kept(before, "rd/attempts/1")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"attempt": null}', '{"status": "finished", "attempt": "3"}'])
def test_a_folder_without_a_readable_status_is_left_alone(capsys, text):
    folder = made()
    (folder / "status.json").write_text(text)
    before = content()
    assert main(["gc", "--yes"]) == 0
    assert content() == before
    assert "status.json" in capsys.readouterr().out


def test_what_is_no_run_is_no_business_of_gc():
    (RUNS / "sweeps/1/attempts/1").mkdir(parents=True)
    (RUNS / "notes.txt").write_text("x")
    before = content()
    assert main(["gc", "--yes"]) == 0
    assert content() == before


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_bad_runs_dir_is_one_sentence(capsys, place):
    Path("file").touch()
    assert main(["gc", "--runs-dir", place]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"steepest: --runs-dir={place} is no folder; allowed is a folder of runs.\n"


def test_what_cannot_be_removed_is_named(monkeypatch, capsys):
    folder = made()
    other = made("rz")
    unlink = Path.unlink

    def refuse(path, *arguments, **options):
        if path.name == "step-10.ckpt" and path.parent.parent == folder:
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    held = blocks(RUNS)
    assert main(["gc", "--yes"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("steepest: ")
    assert "Permission denied" in printed.err
    assert printed.out.endswith(f"{size(held - blocks(RUNS))} freed.\n")
    assert (folder / "checkpoints/step-10.ckpt").exists()
    assert not (other / "checkpoints/step-10.ckpt").exists()


def test_a_file_with_a_name_elsewhere_frees_nothing(capsys):
    folder = made(aside=(), steps=(10,))
    os.link(folder / "checkpoints/step-10.ckpt", "copy.ckpt")
    assert main(["gc", "--yes"]) == 0
    assert capsys.readouterr().out.endswith("\n0 B freed.\n")
    assert Path("copy.ckpt").exists()


names = st.sampled_from(
    [
        "step-1.ckpt",
        "step-12.ckpt",
        "step-x.ckpt",
        "last.ckpt",
        "best.ckpt",
        f".last.ckpt.{DEAD}.tmp",
        "step-3.ckpt.bak",
    ]
)
run_folders = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["finished", "diverged", "running", "failed", "preempted"]),
        "attempt": st.integers(1, 4),
        "aside": st.sets(st.sampled_from(["1", "2", "3", "4", "old", "-1", "1.5"])),
        "checkpoints": st.dictionaries(names, st.integers(0, 20000)),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(run_folders, max_size=3), attempts=st.booleans(), checkpoints=st.booleans())
def test_it_frees_exactly_what_it_said_and_nothing_else(tmp_path_factory, capsys, runs, attempts, checkpoints):
    root = tmp_path_factory.mktemp("runs")
    gone = []
    for number, run in enumerate(runs):
        folder = made(f"r{number}", run["status"], run["attempt"], aside=(), steps=(), runs=root)
        for name, length in run["checkpoints"].items():
            (folder / "checkpoints" / name).write_bytes(b"x" * length)
            ended = run["status"] in ("finished", "diverged")
            if name.endswith(".tmp") or (checkpoints and ended and name in ("step-1.ckpt", "step-12.ckpt")):
                gone.append(folder / "checkpoints" / name)
        for name in run["aside"]:
            (folder / "attempts" / name / "deep").mkdir(parents=True)
            (folder / "attempts" / name / "deep" / "file").write_bytes(b"x" * 5000)
            if attempts and name in "1234" and int(name) < run["attempt"]:
                gone.append(folder / "attempts" / name)
    before, held = content(root), blocks(root)
    options = ["--runs-dir", str(root)]
    options += [] if attempts else ["--no-attempts"]
    options += [] if checkpoints else ["--no-checkpoints"]
    capsys.readouterr()
    assert main(["gc", *options]) == 0
    listed = capsys.readouterr().out
    assert content(root) == before
    assert main(["gc", "--yes", *options]) == 0
    said = capsys.readouterr().out
    assert content(root) == kept(before, *(path.relative_to(root) for path in gone))
    assert {line.split()[2] for line in said.splitlines() if line.endswith(")")} == set(map(str, gone))
    freed = size(held - blocks(root))
    assert (f"{freed} can be freed" in listed and said.endswith(f"{freed} freed.\n")) or not gone


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_499, "999 kB"), (999_500, "1 MB"), (1.234e9, "1.23 GB")],
)
def test_sizes_for_people(count, text):
    assert size(int(count)) == text


def test_gc_imports_no_torch():
    command = [sys.executable, "-X", "importtime", "-m", "steepest.cli", "gc", "--runs-dir", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "| torch\n" not in done.stderr
