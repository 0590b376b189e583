#!/bin/sh
# Make .venv-tpu, where trainer=tpu works: scripts/setup_tpu.sh. torch_xla takes torch 2.9, which is older than the one
# that pyproject.toml asks for, so Steepest itself is installed without looking at its dependencies. See docs/tpu.md.
set -eu
cd "$(dirname "$0")/.."

suitable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

if ! .venv-tpu/bin/python -m pip --version >/dev/null 2>&1; then  # missing, or left half-made
    rm -rf .venv-tpu
    for python in "${PYTHON:-python3}" python3.11 python3.12 python3.13; do
        suitable "$python" && break
    done
    suitable "$python" || { echo "setup_tpu: Python 3.11, 3.12 or 3.13 is needed, and none is on PATH (set PYTHON=...)." >&2; exit 1; }
    "$python" -m venv .venv-tpu
fi
others() {
    .venv-tpu/bin/python - <<'PYTHON'
import re, tomllib
with open("pyproject.toml", "rb") as file:
    needs = tomllib.load(file)["project"]["dependencies"]
print(*(need for need in needs if re.match(r"[\w-]+", need)[0] not in ("torch", "torchvision")))
PYTHON
}
pip() { .venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-tpu.txt "$@"; }
pip torch torchvision 'torch_xla[tpu]' pytest $(others)
pip --no-deps -e .
