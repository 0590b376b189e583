"""Compare runs: python scripts/compare.py RUNS... [--by optimizer] [--metric NAME] [--out DIR] (see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))
