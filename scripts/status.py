"""Say how sweeps stand: python scripts/status.py runs/sweeps/<time> (see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["status", *sys.argv[1:]]))
