#!/usr/bin/env bash
# Run every study at scale=smoke in a folder of its own; each must end with a table, and with a verdict for no row.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make --no-print-directory smoke ARGS="paths.runs_dir=$work/runs" | tee "$work/log.txt"
for study in experiments/*/study.yaml; do
    name=$(basename "$(dirname "$study")")
    out="$work/runs/studies/$name-smoke"
    for file in results.csv verdicts.csv README.md report.html; do
        test -s "$out/$file" || { echo "smoke: $name has left no $file"; exit 1; }
    done
    .venv/bin/python - "$out" "$study" <<'PY'
import sys

import pandas as pd
import yaml

out, study = sys.argv[1:]
verdicts, results = pd.read_csv(f"{out}/verdicts.csv"), pd.read_csv(f"{out}/results.csv")
rows = yaml.safe_load(open(study))["rows"]
assert list(verdicts.row) == list(rows), "a row is missing"
assert set(verdicts.verdict) == {"inconclusive"}, "scale=smoke has decided something"
assert set(results.status) <= {"finished", "diverged"}, results[results.status == "failed"]
assert (verdicts.n >= 2).all(), "a recommended contender has no evaluation"
PY
done
echo "smoke: ok"
