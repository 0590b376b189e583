"""Draw learning-rate schedules: python scripts/preview.py schedule=warmup_cosine (see --help)."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["preview", *sys.argv[1:]]))
