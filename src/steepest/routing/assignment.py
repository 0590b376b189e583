"""Who trains what: the record of a run's parameters."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn
from torch.optim import Optimizer

from steepest.optimizers.composite import Composite
from steepest.routing.kinds import kinds


@dataclass(frozen=True)
class Row:
    """One parameter tensor."""

    name: str
    shape: str
    """Such as 64 x 3 x 3 x 3; empty for a single number."""
    entries: int
    kind: str
    """Of `routing.KINDS`."""
    optimizer: str
    """The name of the class."""
    rule: str
    """Which one, matrix or element, where the optimizer has two rules."""
    lr: float
    weight_decay: float | None


def assignment(optimizer: Optimizer, module: nn.Module) -> list[Row]:
    """A row for each parameter of the module, in the order of the optimizer's groups."""
    kind, name_of = kinds(module), {parameter: name for name, parameter in module.named_parameters()}
    rows = []
    for part in optimizer.parts if isinstance(optimizer, Composite) else [optimizer]:
        treats = getattr(part, "treats_as_matrix", None)
        for group in part.param_groups:
            for p in group["params"]:
                name, shape = name_of[p], " x ".join(map(str, p.shape))
                rule = {None: "", True: "matrix", False: "element"}[treats(p, group) if treats else None]
                decay = group.get("weight_decay")
                own = (type(part).__name__, rule, float(group["lr"]), decay)
                rows.append(Row(name, shape, p.numel(), kind[name], *own))
    return rows


def summary(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What is treated alike, together: optimizer, rule, lr, weight decay, kinds, tensors, entries and an example."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        alike.setdefault((row.optimizer, row.rule, row.lr, row.weight_decay), []).append(row)
    return [
        {
            **dict(zip(("optimizer", "rule", "lr", "weight_decay"), key, strict=True)),
            "kinds": ", ".join(sorted({row.kind for row in together})),
            "tensors": len(together),
            "entries": sum(row.entries for row in together),
            "example": together[0].name,
        }
        for key, together in alike.items()
    ]


def show(rows: list[Row]) -> None:
    """Print the summary, if not all parameters are treated alike."""
    groups = summary(rows)
    if len(groups) < 2:
        return
    table = Table(box=None, pad_edge=False)
    headings = [key for key in groups[0] if any(group[key] not in ("", None) for group in groups)]
    for heading in headings:
        number = heading in ("lr", "weight_decay", "tensors", "entries")
        table.add_column(heading.removeprefix("weight_"), justify="right" if number else "left", overflow="fold")
    for group in groups:
        table.add_row(*(_cell(group[heading]) for heading in headings))
    console = Console()
    if not console.is_terminal:
        console.width = 160  # a log has no edge
    console.print(table)


def as_csv(rows: list[Row]) -> str:
    """The rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [column.name for column in fields(Row)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(asdict, rows))
    return text.getvalue()


def _cell(value: str | float | None) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else value or ""
