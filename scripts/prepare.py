"""Get data sets: `python scripts/prepare.py fashion_mnist cifar10`."""

from steepest.prepare import main

if __name__ == "__main__":
    raise SystemExit(main())
