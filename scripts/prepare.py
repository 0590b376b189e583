"""Get data sets: `python scripts/prepare.py fashion_mnist cifar10`."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["prepare", *sys.argv[1:]]))
