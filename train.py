"""Train one network: python train.py optimizer=adamw schedule=warmup_cosine (a sweep with -m; see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
