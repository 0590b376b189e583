"""What a run says when it ends."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from steepest.runs.files import read_json
from steepest.runs.folder import RunFolder


def show(folder: RunFolder, note: str | None = None) -> None:
    """Print the outcome of a run, where it lies, and what can be typed next."""
    console = Console(highlight=False)
    status, summary = folder.status, folder.summary
    name = escape(summary.get("name", folder.path.name))
    console.print(f"\n[bold]{name}[/bold]: {note or status['status']}", soft_wrap=True)
    for title, value in [*rows(status, summary), ("run folder", str(folder.path))]:
        console.print(f"  [bold]{title:<12}[/bold]{escape(value)}", soft_wrap=True)
    for line in wandb_lines(folder):
        console.print(f"  [bold]{'W&B':<12}[/bold]{escape(line)}", soft_wrap=True)
    following = {
        "finished": f"Next: steepest eval {folder.path}   steepest predict {folder.path}",
        "preempted": "Next: the same command goes on from the last step that was saved",
    }
    if status["status"] in following:
        console.print(following[status["status"]], soft_wrap=True, markup=False)


def rows(status: dict[str, Any], summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of each line."""
    found = []
    if status.get("reason"):
        found.append(("reason", status["reason"]))
    if verdict := summary.get("verdict"):
        found.append(("verdict", f"{verdict['word']}: {verdict['reason']}"))
        found += [("gradients", verdict["gradients"])] if "gradients" in verdict else []
    if summary:
        metrics = summary["metrics"]
        for split, title in (("val", "validation"), ("test", "test")):
            parts = [
                f"{key.removeprefix(f'{split}/')} {figure(value)}"
                for key, value in metrics.items()
                if key.startswith(f"{split}/") and value is not None
            ]
            if parts:
                found.append((title, "   ".join(sorted(parts))))
        best = {key.removeprefix("best/"): value for key, value in metrics.items() if key.startswith("best/")}
        name = summary["headline"]["metric"]
        if best:
            found.append(("best", f"{name} {figure(best[name])} at step {best['opt_step']:,}"))
        if metrics.get("train/loss") is not None:
            found.append(("training", f"loss {figure(metrics['train/loss'])}"))
        found += [
            (
                "cost",
                f"{summary['opt_steps']:,} steps   {summary['wall_s']:.1f} s   "
                f"{summary['examples'] / max(summary['wall_s'], 1e-9):,.0f} examples/s   "
                f"{summary['parameters']:,} parameters",
            ),
            *(("note", remark) for remark in summary.get("remarks", [])),
        ]
    return found


def figure(value: float) -> str:
    """A number for people: counts as they are, four decimals, or four digits where these say little."""
    if value == round(value) and abs(value) >= 2:
        return f"{value:,.0f}"
    return f"{value:,.4f}" if value == 0 or 0.01 <= abs(value) < 10_000 else f"{value:.4g}"


def wandb_lines(folder: RunFolder) -> list[str]:
    """Where the run is to be seen on W&B, and what brings there what is missing."""
    mirror = read_json(folder.path / "wandb" / "mirror.json")
    if not mirror:
        return []
    upload = f"steepest sync {folder.path}"
    if mirror.get("arrived"):
        return [mirror["url"]]
    found = [f"{mirror['url']}   not all has arrived: {upload}"] if mirror.get("url") else []
    if mirror.get("place"):
        found.append(f"offline: wandb leet {folder.path / mirror['place']}   {upload}")
    return [*found, *([mirror["why"]] if mirror.get("why") else [])]
