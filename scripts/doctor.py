"""Say what this machine has, and what to do about what is missing: `python scripts/doctor.py`."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
