"""Every optimizer against every property: run the contract tests, print the matrix, write it to docs/conformance.md.

With `--check` nothing is written, and a page that says something else is an error.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "conformance.md"
sys.path.insert(0, str(ROOT / "tests"))

INTRODUCTION = """# Conformance

Every optimizer of `conf/optimizer` and every property of the contract: ✓ where its tests pass, a number where the
property cannot apply, for the reason below. `make conformance` runs the tests (those with the marker `contract`) and
writes this page.

"""


class Collector:
    """Notes what became of the tests of each property and optimizer."""

    def __init__(self) -> None:
        self.passed: dict[tuple[str, str], bool] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A cell is passed if all of its tests are; a skipped one has not passed."""
        for key, value in report.user_properties:
            if key == "contract" and (report.when == "call" or report.outcome != "passed"):
                property_, names = value
                for name in names:
                    cell = property_, optimizer_of(name)
                    self.passed[cell] = self.passed.get(cell, True) and report.outcome == "passed"


def optimizer_of(name: str) -> str:
    """The optimizer that a case such as `rmsprop_centered` is of: the longest name that it begins with."""
    from contract import NODES

    found = [known for known in NODES if name == known or name.startswith(f"{known}_")]
    return max(found, key=len) if found else name


def main(arguments: list[str]) -> int:
    """Run, print, write; returns 1 for a property that is neither proven nor exempt, 2 for a page that is not so."""
    from contract import NODES, NOT_APPLICABLE

    collector = Collector()
    options = ["-n", "auto", "--dist", "worksteal"]
    failed = pytest.main(["-m", "contract and not slow", *options, str(ROOT / "tests")], plugins=[collector])
    properties = list(dict.fromkeys(property_ for property_, _ in sorted(collector.passed)))
    reasons: dict[str, int] = {}
    cells: dict[tuple[str, str], str] = {}
    for name in NODES:
        for property_ in properties:
            reason = NOT_APPLICABLE.get(property_, {}).get(name)
            if reason is not None:
                cells[name, property_] = str(reasons.setdefault(reason, len(reasons) + 1))
            else:
                cells[name, property_] = {True: "✓", False: "✗", None: "?"}[collector.passed.get((property_, name))]
    show(properties, list(NODES), cells)
    for reason, number in reasons.items():
        print(f"{number}: {reason}")
    open_cells = [f"{name}: {property_}" for (name, property_), cell in cells.items() if cell in "✗?"]
    if failed or open_cells:
        print("Neither passed nor exempt: " + "; ".join(open_cells), file=sys.stderr)
        return 1
    text = INTRODUCTION + as_markdown(properties, list(NODES), cells, reasons)
    if "--check" not in arguments:
        PAGE.write_text(text)
    elif not PAGE.exists() or PAGE.read_text() != text:
        print(f"{PAGE.relative_to(ROOT)} says something else; make conformance writes it anew.", file=sys.stderr)
        return 2
    return 0


def show(properties: list[str], names: list[str], cells: dict[tuple[str, str], str]) -> None:
    """Print the matrix; properties by number, since there are many."""
    for number, property_ in enumerate(properties):
        print(f"{letter(number)}: {property_}")
    table = Table("optimizer", *map(letter, range(len(properties))), box=None)
    for name in names:
        table.add_row(name, *(cells[name, property_] for property_ in properties))
    Console().print(table)


def as_markdown(
    properties: list[str], names: list[str], cells: dict[tuple[str, str], str], reasons: dict[str, int]
) -> str:
    """The matrix as a page, its reasons below."""
    letters = [*map(letter, range(len(properties)))]
    legend = [f"- **{mark}** {property_}" for mark, property_ in zip(letters, properties, strict=True)]
    head = [["optimizer", *letters], ["---", *[":-:"] * len(properties)]]
    rows = [[f"`{name}`", *(cells[name, property_] for property_ in properties)] for name in names]
    lines = ["| " + " | ".join(row) + " |" for row in [*head, *rows]]
    notes = [f"{number}. {reason}" for reason, number in reasons.items()]
    return "\n".join([*legend, "", *lines, "", "Where a property cannot apply:", "", *notes, ""])


def letter(number: int) -> str:
    """A, B, C, ... for the columns in the terminal."""
    return chr(ord("A") + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
