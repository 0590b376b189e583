#!/bin/sh
# Make .venv and install Steepest into it: scripts/setup.sh [extra]. With uv on PATH uv does it, otherwise venv and pip.
set -eu
cd "$(dirname "$0")/.."
what=.${1:+[$1]}

suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

if command -v uv >/dev/null 2>&1; then
    .venv/bin/python -c '' 2>/dev/null || uv venv --clear --quiet --python "${PYTHON:->=3.11,<3.14}" .venv
    uv pip install --quiet --python .venv/bin/python -c constraints.txt -e "$what"
else
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then  # missing, or left half-made
        rm -rf .venv
        for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
            suitable "$python" && break
        done
        suitable "$python" || { echo "setup: Python 3.11, 3.12 or 3.13 is needed, and none is on PATH (set PYTHON=...)." >&2; exit 1; }
        "$python" -m venv .venv
    fi
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$what"
fi
