"""Learning-rate schedules as a picture and in the terminal, before anything is trained. Nothing here imports torch."""

import difflib
import math
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from hydra import initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from steepest.budget import Budget
from steepest.build import build
from steepest.config import compose, conf_dir, spelled_out
from steepest.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USAGE = """usage: steepest preview [schedule=NAME] [key=value] ... [output=FILE]

  steepest preview schedule=warmup_cosine                   one schedule
  steepest preview 'schedule=glob(*)'                       all of them (in quotes, for the shell's sake)
  steepest preview schedule=cosine,step optimizer.lr=0.1    several
  steepest preview schedule=wsd schedule.decay=0.1,0.3      one, with several values

budget.steps and budget.epochs are the length of the run (1,000 steps, 10 epochs), output is the picture's file
(preview.png; or a .pdf, .svg). Every other key is one of the configuration; batch.lr_scaling is left out."""

STEPS, EPOCHS = 1000, 10  # length of the run, where it is not given
POINTS = 4000  # drawn of a curve, at most
DOTS = 60  # up to so many steps, each is a dot
FORMATS = (".png", ".pdf", ".svg")
INK, GREY, PALE, BLUE, ORANGE = "#1f2937", "#6b7280", "#e5e7eb", "#2563eb", "#d97706"


@dataclass(frozen=True)
class Curve:
    """One schedule over one run."""

    title: str
    settings: str
    total: int
    """Optimizer steps of the run."""
    epochs: float
    steps: list[int]
    lr: list[float]
    momentum: list[float] | None

    @property
    def run(self) -> str:
        """The run in words."""
        return f"{self.total:,} step{'s' * (self.total != 1)} in {self.epochs:g} epoch{'s' * (self.epochs != 1)}"

    @property
    def summary(self) -> str:
        """First, highest and last learning rate in words."""
        peak = max(self.lr)
        at = self.steps[self.lr.index(peak)]
        return f"first {self.lr[0]:.3g}, highest {peak:.3g} at step {at:,}, last {self.lr[-1]:.3g}"


def main(arguments: list[str] | None = None) -> int:
    """Draw what the command line asks for; returns the exit code.

    Raises:
        ConfigError: before anything is drawn, for what the user can mend.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    output = output_file([text for text in arguments if text.startswith("output=")])
    curves = [
        curve(job, chosen) for job, chosen in jobs([text for text in arguments if not text.startswith("output=")])
    ]
    save(curves, output)
    width = shutil.get_terminal_size((80, 24)).columns
    print(in_terminal(curves, min(width, 120), colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    print(f"\n{runs(curves)}; budget.steps and budget.epochs set another length.\n{output}")
    return 0


def output_file(given: list[str]) -> Path:
    """The picture's file, from the arguments `output=FILE`."""
    path = Path(given[-1].removeprefix("output=") if given else "preview.png").expanduser()
    if path.suffix.lower() not in FORMATS or path.is_dir():
        raise ConfigError(f"output={path} is no picture; allowed are file names that end in {', '.join(FORMATS)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"output={path} lies in a folder that does not exist; allowed are existing folders.")
    return path


def jobs(overrides: list[str]) -> list[tuple[list[str], list[str]]]:
    """Expand comma lists, glob and range as a sweep of Hydra's does: each job's overrides, and those that it varies."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        names = loader.get_group_options("schedule")
        parsed = OverridesParser.create(config_loader=loader).parse_overrides([spelled_out(text) for text in overrides])
        fixed = [str(override.input_line) for override in parsed if not override.is_sweep_override()]
        sweeps = [override for override in parsed if override.is_sweep_override()]
        expanded = BasicSweeper.split_arguments(sweeps, max_batch_size=None)[0]
    if not expanded:
        empty = " ".join(str(override.input_line) for override in sweeps)
        raise ConfigError(f"{empty} matches nothing; allowed schedules are {', '.join(names)}.")
    for text in [*fixed, *(text for varied in expanded for text in varied)]:
        key, _, name = text.partition("=")
        if key == "schedule" and name.strip("'\"") not in names:
            nearest = sorted(names, key=lambda known: -difflib.SequenceMatcher(None, known, name).ratio())
            raise ConfigError(f"schedule={name} does not exist; allowed are {', '.join(nearest)}.")
    return [([*fixed, *varied], varied) for varied in expanded]


def curve(overrides: list[str], varied: list[str]) -> Curve:
    """Compute the schedule of the configuration under these overrides; those that vary go into its title."""
    cfg = compose(overrides)
    Budget(**cfg.budget)  # refuses what is out of range
    total = math.ceil(cfg.budget.steps or STEPS)
    epochs = cfg.budget.epochs if any(text.startswith("budget.epochs=") for text in overrides) else min(EPOCHS, total)
    lr = cfg.optimizer.get("lr")
    if isinstance(lr, bool) or not isinstance(lr, int | float):
        raise ConfigError(f"optimizer.lr={lr} is not a number; allowed is 0 or more.")
    epochs = epochs or total
    schedule = build(cfg.schedule).bind(lr=lr, steps_per_epoch=max(1, round(total / epochs)), total=total)
    points = min(total, POINTS)
    steps = [i * (total - 1) // max(1, points - 1) for i in range(points)]
    momentum = [schedule.momentum(t, total) for t in steps]
    changes = [text.removeprefix("schedule.") for text in varied if not text.startswith("schedule=")]
    return Curve(
        title=" ".join([cfg.choices.schedule, *changes]),
        settings=", ".join(f"{key}={value}" for key, value in as_yaml(cfg.schedule).items()),
        total=total,
        epochs=epochs,
        steps=steps,
        lr=[lr * schedule.multiplier(t, total) for t in steps],
        momentum=None if None in momentum else momentum,
    )


def as_yaml(node: DictConfig) -> dict[str, str]:
    """The settings of a schedule, without those that are null."""
    given = {str(key): value for key, value in node.items() if key != "_target_" and value is not None}
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}


def runs(curves: list[Curve]) -> str:
    """The length of the run, or of each where they differ."""
    return " or ".join(dict.fromkeys(c.run for c in curves))


def highest(curves: list[Curve]) -> float:
    """The highest learning rate of all, for a common scale; 1 if all are zero."""
    return max(max(c.lr) for c in curves) or 1.0


def save(curves: list[Curve], path: Path) -> None:
    """Draw the picture: one large panel, or a grid of small ones on a common scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(curves)
    columns = min(range(min(5, math.ceil(math.sqrt(count))), 6), key=lambda k: -count % k)  # the fewest empty places
    rows = math.ceil(count / columns)
    size = (3.0 * columns + 0.4, 2.1 * rows + 0.5) if count > 1 else (8.0, 4.6)
    figure = Figure(figsize=size, dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for panel, c in zip(panels, curves, strict=False):
        draw(panel, c, 8) if count > 1 else draw(panel, c, 10, f"{fill(c.settings, 100)}\n{c.run}: {c.summary}".strip())
    panels[0].set_ylim(0, 1.06 * highest(curves))
    for panel in panels[count:]:
        panel.set_visible(False)
    figure.supxlabel("step", fontsize=10, color=GREY)
    figure.supylabel("learning rate", fontsize=10, color=BLUE)
    if count > 1:
        figure.suptitle(runs(curves), x=0.01, ha="left", fontsize=10, color=GREY)
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(f"output={path} cannot be written ({error.strerror}); allowed is a writable file.") from None


def draw(panel: "Axes", c: Curve, fontsize: int, subtitle: str = "") -> None:
    """Draw one curve; a momentum that moves gets an axis of its own at the right."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    dots: dict[str, Any] = {"marker": "o", "markersize": 3.5} if c.total <= DOTS else {}
    panel.plot(c.steps, c.lr, color=BLUE, linewidth=1.8, **dots)
    panel.fill_between(c.steps, c.lr, color=BLUE, alpha=0.1, linewidth=0)
    panel.text(0, 1.02, subtitle, transform=panel.transAxes, va="bottom", fontsize=0.85 * fontsize, color=GREY)
    pad = 8 + 1.15 * fontsize * len(subtitle.splitlines())
    title = fill(c.title, 70 if subtitle else 26)
    panel.set_title(title, loc="left", pad=pad, fontsize=1.3 * fontsize, fontweight="bold", color=INK)
    panel.set_xlim(-0.02 * c.total, 1.02 * c.total)
    panel.xaxis.set_major_locator(MaxNLocator(6 if subtitle else 4, steps=[1, 2, 2.5, 5, 10], integer=True))
    panel.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panel.grid(color=PALE, linewidth=0.7)
    panel.spines[:].set_visible(False)
    panel.tick_params(colors=GREY, labelsize=fontsize, length=0)
    if c.momentum:
        right = panel.twinx()
        right.plot(c.steps, c.momentum, color=ORANGE, linewidth=1.3, linestyle="--", **dots)
        right.set_ylabel("momentum", color=ORANGE, fontsize=fontsize)
        right.spines[:].set_visible(False)
        right.tick_params(colors=ORANGE, labelsize=fontsize, length=0)
        right.set_yticks([min(c.momentum), (min(c.momentum) + max(c.momentum)) / 2, max(c.momentum)])
        right.yaxis.set_major_formatter(StrMethodFormatter("{x:.3g}"))


def in_terminal(curves: list[Curve], width: int, colour: bool) -> str:
    """The curves as text, at most `width` columns wide; several stand in panels side by side, on a common scale."""
    if len(curves) == 1:
        c = curves[0]
        texts = [text_plot(c, c.lr, f"{c.title}: learning rate", (width, 16), colour, 0.0, highest(curves))]
        if c.momentum:
            low, high = min(c.momentum), max(c.momentum)
            texts.append(text_plot(c, c.momentum, f"{c.title}: momentum", (width, 9), colour, low, high))
        return "\n".join([*texts, fill(c.settings, width), fill(c.summary, width)])
    least = max(26 if len(curves) > 4 else 40, *(len(c.title) + 2 for c in curves))
    columns = max(1, min(width // least, len(curves)))
    size = (width // columns, 8)
    panels = [text_plot(c, c.lr, c.title, size, colour, 0.0, highest(curves)).split("\n") for c in curves]
    rows = [panels[i : i + columns] for i in range(0, len(panels), columns)]
    return "\n\n".join("\n".join(map("".join, zip(*row, strict=True))) for row in rows)


def text_plot(
    c: Curve, values: list[float], title: str, size: tuple[int, int], colour: bool, low: float, high: float
) -> str:
    """One panel of `size` (columns, lines), in braille dots."""
    import plotext

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if colour else "colorless")
    figure.plot_size(*size)
    figure.draw(figure.signal(c.steps, values, marker="braille").lines())
    figure.title(title[: size[0]])
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    middle, top = (low + high) / 2, high if high > low else low + 1.0
    figure.ruler("x").lim(0, max(1, c.total))
    figure.ruler("x").ticks([0, c.total // 2, c.total], ["0", f"{c.total // 2:,}", f"{c.total:,}"])
    figure.ruler("y", "left").lim(low, top)
    figure.ruler("y", "left").ticks([low, middle, high], [f"{value:.3g}" for value in (low, middle, high)])
    return str(figure.build().string(colorless=not colour)).rstrip("\n")
