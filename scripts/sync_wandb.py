"""Bring run folders to Weights & Biases: `python scripts/sync_wandb.py`."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["sync", *sys.argv[1:]]))
