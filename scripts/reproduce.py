"""Run a study of claims: python scripts/reproduce.py study=domains scale=smoke (see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
