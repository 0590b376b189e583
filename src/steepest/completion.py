"""`steepest completion`: what makes TAB complete groups, values, keys and commands.

The shell asks this module at every TAB, so what answers imports PyYAML and nothing slower.
"""

import re
import sys
from pathlib import Path
from typing import Any

USAGE = """usage: eval "$(steepest completion)"

Prints shell code (bash; zsh after compinit) that makes TAB complete groups, values and keys behind `steepest train`
and `python train.py`, and the commands of steepest. Put that line into ~/.bashrc to have it in every shell."""

HIDDEN = ("_target_", "_partial_", "defaults", "hydra", "run")
OF_STUDIES = ("search", "recommended", "recommended/schedule", "hydra/sweeper")  # folders that no run chooses from
FLAGS = ("--allow-target", "--cfg", "--config-dir", "--help", "--info", "--multirun", "-m")
NOT_OURS = "not ours"

# What was set up for python before is asked where no program of ours runs. zsh has no COMP_WORDBREAKS.
SCRIPT = """\
if [ -n "${{ZSH_VERSION-}}" ]; then autoload -U +X bashcompinit && bashcompinit; fi
_steepest() {{
    local line
    COMPREPLY=()
    while IFS= read -r line; do COMPREPLY+=("$line"); done < <(
        {python} -P -m steepest.completion {conf} {commands} "${{COMP_LINE:0:$COMP_POINT}}" "${{COMP_WORDBREAKS-}}" \\
            2>/dev/null)
    if [ "${{COMPREPLY[*]-}}" = "{not_ours}" ]; then
        COMPREPLY=()
        if [ -n "$_steepest_python" ]; then "$_steepest_python" "$@"; fi
    fi
}}
_steepest_before=$(complete -p python 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
if [ "$_steepest_before" != _steepest ]; then _steepest_python=$_steepest_before; fi
complete -o nospace -o default -F _steepest steepest train.py python python3
"""


def main(arguments: list[str]) -> int:
    """Print the shell code; returns the exit code (2: there are no options)."""
    if arguments:
        asked = arguments[0] in ("-h", "--help")
        print(USAGE, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    import shlex

    from steepest.cli import COMMANDS
    from steepest.config import conf_dir

    values = {"python": sys.executable, "conf": str(conf_dir()), "commands": " ".join(COMMANDS)}
    print(SCRIPT.format(not_ours=NOT_OURS, **{key: shlex.quote(text) for key, text in values.items()}), end="")
    return 0


def answer(conf: Path, commands: list[str], line: str, breaks: str) -> list[str]:
    """What the last word of a command line can become; [NOT_OURS] where no program of ours is called.

    Args:
        conf: the configuration folder.
        commands: those of `steepest`.
        line: the command line up to the cursor.
        breaks: characters at which the shell ends a word; it replaces only what stands behind the last of them.
    """
    words = line.split()
    typed = words.pop() if words and not line[-1].isspace() else ""
    program = Path(words[0]).name if words else ""
    behind = words[1:]
    if program != "steepest":
        while behind and program != "train.py" and behind[0].startswith("-"):
            behind = behind[1:]  # python's own options
        script = Path(words[0] if program == "train.py" else (behind or [""])[0]).expanduser()
        places = [folder for folder in script.absolute().parents[:2] if (folder / "src" / "steepest").is_dir()]
        if script.suffix != ".py" or script.stem not in commands or not places:
            return [NOT_OURS]
        conf, behind = places[0] / "conf", [script.stem, *behind[program != "train.py" :]]
    known = offers(conf, behind[0], behind[1:], typed) if behind else [f"{command} " for command in commands]
    cut = max((typed.rfind(character) for character in breaks), default=-1) + 1
    return sorted({word[cut:] for word in known if word.startswith(typed)})


def offers(conf: Path, command: str, words: list[str], typed: str) -> list[str]:
    """Words that can stand behind a command, after those that stand there already."""
    if command in ("train", "preview"):
        return overrides(conf, words, typed)
    if command == "prepare":
        return [f"{name} " for name in names(conf, "dataset")]
    return [f"{run} " for run in runs()] if command in ("eval", "predict", "sync", "gc") else []


def overrides(conf: Path, words: list[str], typed: str) -> list[str]:
    """Flags, `group=value`, `key=value`: as far as the next `=`, `.` or value."""
    if typed.startswith("-"):
        return [f"{flag} " for flag in FLAGS]
    key, equals, value = typed.lstrip("+~").partition("=")
    sign = typed[: len(typed) - len(typed.lstrip("+~"))]
    if equals:
        head = value[: max(value.rfind(","), value.rfind("[")) + 1]  # of a sweep, or of a list
        end = "" if head or {"-m", "--multirun"} & set(words) else " "  # in a sweep a comma may follow
        new = [found for found in values(conf, words, key) if found not in re.split(r"[,\[]", head)]
        return [f"{sign}{key}={head}{found}{end}" for found in new]
    above, dot, _ = key.rpartition(".")
    if key == ".":
        return []
    found = [f"{name}{'.' if isinstance(node, dict) else '='}" for name, node in keys(conf, words, above).items()]
    return [f"{sign}{above}{dot}{word}" for word in found + ([] if dot else [f"{group}=" for group in groups(conf)])]


def values(conf: Path, words: list[str], key: str) -> list[str]:
    """The values of a group; of a key its default, and those that the comment behind it lists (`a | b`)."""
    if found := names(conf, key):
        return ["true", *found] if key == "tuned" else found
    if key == "init_from":
        return runs()
    above, _, name = key.rpartition(".")
    default = keys(conf, words, above).get(name, {})
    if isinstance(default, bool):
        return ["true", "false"]
    if isinstance(default, dict):
        return []
    text = "null" if default is None else str(default).replace(" ", "")
    files = "\n".join(file.read_text() for file in chosen(conf, words, above.partition(".")[0]))
    comments = re.findall(rf"^ *{re.escape(name)}: [^#\n]*#(.*\|.*)$", files, re.MULTILINE)
    listed = [word for comment in comments for word in re.findall(r"(?:^|\|)\s*([\w.-]+)", comment)]
    return [word for word in (text, *listed) if re.fullmatch(r"[\w.,+/\[\]-]+", word)]  # the shell leaves these alone


def keys(conf: Path, words: list[str], path: str) -> dict[str, Any]:
    """The keys below a path of the configuration with their defaults; at the top the groups are keys, too."""
    top, *below = path.split(".")
    nodes = [load(file) for file in chosen(conf, words, top)]
    for name in below if (conf / top).is_dir() else path.split("."):
        nodes = [node[name] for node in nodes if isinstance(node.get(name), dict)] if name else nodes
    if not path:
        nodes.append({group: {} for group in groups(conf) if "/" not in group and has_keys(conf / group)})
    return {key: node for found in nodes for key, node in found.items() if key not in HIDDEN}


def chosen(conf: Path, words: list[str], group: str) -> list[Path]:
    """The files chosen in a group by the command line (several in a sweep), the experiment, or by default.

    What is no group stands in `config.yaml`.
    """
    if not group or not (conf / group).is_dir():
        return [conf / "config.yaml"]
    choices: dict[str, Any] = dict(word.lstrip("+").partition("=")[::2] for word in words if "=" in word)
    for file in (conf / "experiment" / f"{choices.get('experiment')}.yaml", conf / "config.yaml"):
        for entry in load(file).get("defaults", []):
            for name, value in entry.items() if isinstance(entry, dict) else ():
                choices.setdefault(name.removeprefix("override ").lstrip("/"), value)
    found = re.findall(r"[^,\[\]\s']+", str(choices.get(group)))
    return [file for name in found if (file := conf / group / f"{name}.yaml").is_file()]


def groups(conf: Path) -> list[str]:
    """The names of the config groups, such as `optimizer`."""
    return sorted({str(file.parent.relative_to(conf)) for file in conf.glob("*/**/*.yaml")} - set(OF_STUDIES))


def has_keys(folder: Path) -> bool:
    """Whether a group has keys of its own; an experiment's are those of the whole configuration."""
    return not any("@package _global_" in file.read_text() for file in folder.glob("*.yaml"))


def names(conf: Path, group: str) -> list[str]:
    """The values of a group."""
    return sorted(file.stem for file in (conf / group).glob("*.yaml")) if group else []


def runs() -> list[str]:
    """The ids of the runs below the current folder's `runs/`."""
    return [file.parent.name for file in Path("runs").glob("*/status.json")]


def load(file: Path) -> dict[str, Any]:
    """A YAML file's mapping; an absent file is empty."""
    import yaml

    return (yaml.safe_load(file.read_text()) or {}) if file.is_file() else {}


if __name__ == "__main__":
    conf_folder, commands_of_steepest, *asked = sys.argv[1:]
    print("\n".join(answer(Path(conf_folder), commands_of_steepest.split(), *asked)))
