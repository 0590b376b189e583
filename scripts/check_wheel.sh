#!/usr/bin/env bash
# Build the wheel, install it into an environment of its own, and use it from an empty folder.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make --no-print-directory wheel ARGS= >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
wheel=$(ls -t dist/steepest-*.whl | head -n 1)
.venv/bin/python -m venv "$work/env"
"$work/env/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt "$wheel"

mkdir "$work/empty"
cd "$work/empty"
export WANDB_MODE=offline
"$work/env/bin/steepest" train budget.epochs=3 optimizer=adamw schedule=warmup_cosine
run=$(ls runs)
"$work/env/bin/steepest" eval "$run" --split val
"$work/env/bin/steepest" predict "$run"
"$work/env/bin/steepest" preview schedule=cosine output=cosine.png
test -s cosine.png
"$work/env/bin/steepest" translate from=adamw to=lion lr=3e-4
test -s "runs/$run/summary.json"
"$work/env/bin/steepest" reproduce study=domains scale=smoke rows=vision_cnn
test -s runs/studies/domains-smoke/report.html
left=$(ls -A | sort | tr '\n' ' ')
[ "$left" = "cosine.png runs " ] || { echo "unexpected files: $left"; exit 1; }
echo "wheel: ok"
