"""Turn a setting of one optimizer into one of another: `python scripts/translate.py from=adamw to=lion lr=3e-4`."""

import sys

from steepest.cli import main

if __name__ == "__main__":
    sys.exit(main(["translate", *sys.argv[1:]]))
