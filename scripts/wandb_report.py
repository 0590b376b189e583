"""Build a W&B report of a study: python scripts/wandb_report.py study=domains (see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["wandb-report", *sys.argv[1:]]))
