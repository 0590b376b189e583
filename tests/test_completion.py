"""TAB, asked of bash itself."""

import os
import pty
import select
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from steepest.cli import COMMANDS, main
from steepest.completion import answer, groups, has_keys, names
from steepest.config import compose, conf_dir

CONF = conf_dir()
CHECKOUT = CONF.parent
BREAKS = " \t\n\"'><=;|&(:"  # bash's own
N = [name for name in names(CONF, "optimizer") if name.startswith("n")]
needs_checkout = pytest.mark.skipif(not (CHECKOUT / "train.py").is_file(), reason="needs the checkout's train.py")
needs_bash = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


def typed(line, breaks=""):
    return answer(CONF, list(COMMANDS), line, breaks)


def words(line):
    """What can stand at the end of `steepest train ...`, without the space behind a whole word."""
    return {word.rstrip() for word in typed(f"steepest train {line}")}


@pytest.fixture
def script(capsys):
    assert main(["completion"]) == 0
    return capsys.readouterr().out


def in_bash(script, *lines, environment=None):
    """What bash's COMPREPLY holds after TAB at the end of each line."""
    program = [script]
    for line in lines:
        program += [f"COMP_LINE={shlex.quote(line)} COMP_POINT={len(line)}", "_steepest"]
        program += [r'printf "%s\n" "${COMPREPLY[@]}"', "echo --"]
    command = ["bash", "--norc", "-u", "-c", "\n".join(program)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **(environment or {})}
    )
    assert done.stderr == ""
    return [[word for word in part.split("\n") if word] for part in done.stdout.split("--\n")[:-1]]


@needs_bash
@needs_checkout
def test_bash_completes_groups_values_keys_and_commands(script):
    train = shlex.quote(str(CHECKOUT / "train.py"))
    assert in_bash(
        script,
        "steepest pre",
        "steepest train opt",
        f"python {train} opt",
        "steepest train optimizer=adamw",
        f"python -u {train} -m optimizer=adam,adamw",
        "steepest train optimizer=adam optimizer.b",
        "steepest train schedule=wa",
        f"{train} experiment=digits_v",
        "steepest prepare fashion",
        "steepest train nothing=",
        "steepest nothing ",
    ) == [
        ["predict ", "prepare ", "preview "],
        ["optimizer.", "optimizer="],
        ["optimizer.", "optimizer="],
        ["adamw "],
        ["adam,adamw"],
        ["optimizer.betas="],
        ["warmup_cosine "],
        ["digits_vit "],
        ["fashion_mnist ", "fashion_mnist_hf "],
        [],
        [],
    ]


@needs_bash
def test_other_python_programs_keep_the_completion_they_had(script):
    before = "_other() { COMPREPLY=(theirs); }; complete -F _other python"
    assert in_bash(f"{before}\n{script}", "python manage.py ", "python train.py ") == [["theirs"], ["theirs"]]
    assert in_bash(f"{before}\n{script}\n{script}", "python -m ht", "steepest gc ru") == [["theirs"], []]
    assert in_bash(script, "python manage.py ", "python ") == [[], []]


@needs_bash
def test_a_broken_configuration_or_a_lost_interpreter_is_silent(script):
    assert in_bash(script.replace(sys.executable, "/nowhere/python"), "steepest train opt") == [[]]
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("a: [1\n")
    assert in_bash(script.replace(str(CONF), str(Path("conf").absolute())), "steepest train opt") == [[]]


@needs_bash
def test_files_in_the_current_folder_are_not_run(script):
    for name in ("yaml.py", "re.py", "steepest.py"):
        Path(name).write_text("raise SystemExit(open('ran', 'w'))")
    assert in_bash(script, "steepest train schedule=ws") == [["wsd "]]
    assert not Path("ran").exists()


@needs_bash
def test_a_person_at_a_terminal_presses_tab(script):
    ours, terminal = pty.openpty()
    Path("script").write_text(script + 'steepest() { printf "<%s>" "$@" END; }\nPS1="$ "\n')
    bash = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", "script", "-i"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        env={**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null"},
    )
    os.close(terminal)
    try:
        os.write(ours, b"steepest trai\toptimizer=adamw optimizer.l\t1e-4 sch\t=warm\tmodel=v\ti\t\n")
        seen = b""
        while b"<END>" not in seen:
            assert select.select([ours], [], [], 30)[0], seen
            seen += os.read(ours, 4096)
    finally:
        bash.kill()
        bash.wait()
        os.close(ours)
    assert b"<train><optimizer=adamw><optimizer.lr=1e-4><schedule=warmup_cosine><model=vit><END>" in seen, seen


@needs_bash
def test_tab_is_answered_at_once(script):
    program = f"{script}\nCOMP_LINE='steepest train optimizer=adam optimizer.' COMP_POINT=38\n_steepest"
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(["bash", "--norc", "-c", program], check=True)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.3, times


def test_what_answers_imports_nothing_slow():
    code = [str(CONF), "train", "steepest train experiment=digits_vit optimizer.", BREAKS]
    command = [sys.executable, "-X", "importtime", "-P", "-m", "steepest.completion", *code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "optimizer.betas=" in done.stdout
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not modules & {"hydra", "omegaconf", "torch", "numpy", "steepest.cli"}


@pytest.mark.parametrize("group", groups(CONF))
def test_every_value_of_every_group_is_offered(group):
    values = {f"{group}={file.stem}" for file in (CONF / group).glob("*.yaml")}
    assert words(f"{group}=") - {"tuned=true"} == values
    assert words(f"-m seed=0 {group}=") >= values
    assert f"{group}=" in words("")


@pytest.mark.parametrize("group", [group for group in groups(CONF) if "/" not in group and has_keys(CONF / group)])
def test_the_keys_are_those_of_the_composed_configuration(group):
    for value in names(CONF, group):
        offered = words(f"{group}={value} {group}.")
        node = compose([f"{group}={value}"])[group]
        assert offered == {
            f"{group}.{key}{'.' if OmegaConf.is_dict(node._get_node(key)) else '='}"
            for key in node
            if key not in ("_target_", "_partial_")
        }


def test_the_top_offers_every_key_of_the_configuration():
    cfg = compose()
    assert isinstance(cfg, DictConfig)
    keys = {word.rstrip(".=") for word in words("")}
    assert {"seed=", "budget.", "optimizer.", "optimizer=", "experiment="} <= words("")
    assert keys == (set(map(str, cfg)) - {"choices", "run"}) | set(groups(CONF))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("experiment=digits_vit optimizer.betas=", {"optimizer.betas=[0.9,0.999]"}),
        ("experiment=digits_vit optimizer=sgd optimizer.b", set()),
        ("-m optimizer=adam,sgd_momentum optimizer.m", {"optimizer.maximize=", "optimizer.momentum="}),
        ("-m optimizer=adam,adamw,sgd,n", {f"optimizer=adam,adamw,sgd,{name}" for name in N}),
        ("logger=[csv,", {"logger=[csv,none", "logger=[csv,tensorboard", "logger=[csv,wandb"}),
        ("logger=[csv,tensorboard] logger.", {"logger.csv.", "logger.tensorboard."}),
        ("logger.wandb.mode=o", {"logger.wandb.mode=online", "logger.wandb.mode=offline"}),
        ("batch.lr_scaling=", {f"batch.lr_scaling={name}" for name in ("none", "linear", "sqrt")}),
        ("tuned=", {"tuned=true", "tuned=none", "tuned=digits_vit-adamw"}),
        ("force=", {"force=true", "force=false"}),
        ("budget.seconds=", {"budget.seconds=null"}),
        ("+optimizer=n", {f"+optimizer={name}" for name in N}),
        ("dataset=cifar10 dataset.root=", set()),
        ("optimizer.nothing=", set()),
        ("optimizer.lr.", set()),
        ("optimizer=nothing optimizer.", set()),
        ("--mul", {"--multirun"}),
        ("=", set()),
        (".", set()),
    ],
)
def test_what_is_offered(line, offered):
    assert words(line) == offered


def test_a_word_is_ended_by_a_space_unless_more_of_it_may_follow():
    assert typed("steepest train optimizer=nest") == ["optimizer=nesterov "]
    assert typed("steepest train -m optimizer=nest") == ["optimizer=nesterov"]
    assert typed("steepest train seed=0,1 -m optimizer=nest", BREAKS) == ["nesterov"]


def test_runs_are_offered_by_their_ids():
    for name in ("r0123456789a", "rb", "sweeps"):
        Path("runs", name).mkdir(parents=True)
    for name in ("r0123456789a", "rb"):
        Path("runs", name, "status.json").write_text("{}")
    assert typed("steepest eval r0") == ["r0123456789a "]
    assert typed("steepest gc ") == ["r0123456789a ", "rb "]
    assert words("init_from=") == {"init_from=r0123456789a", "init_from=rb"}


@pytest.mark.parametrize("line", ["", "python", "python tra", "python train.py opt", "python -m train opt", "sudo x "])
def test_what_is_not_ours_is_left_alone(line):
    assert typed(line) == ["not ours"]


def test_mistakes_are_answered_with_the_usage(capsys):
    assert main(["completion", "--help"]) == 0
    assert 'eval "$(steepest completion)"' in capsys.readouterr().out
    assert main(["completion", "fish"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "usage:" in printed.err
