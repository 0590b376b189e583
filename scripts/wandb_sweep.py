"""Write search spaces as W&B sweeps: python scripts/wandb_sweep.py optimizer=adamw,sgd_momentum (see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["wandb-sweep", *sys.argv[1:]]))
