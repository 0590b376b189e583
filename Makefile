# `make help` lists the targets. Each one works alone on a fresh clone: it makes .venv first where that is missing.
PYTHON_FILES := src scripts tests train.py
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help train test slurm tpu goals lint format bench data preview conformance wheel clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo
	@echo '  make train ARGS="optimizer=adamw schedule=warmup_cosine"   as python train.py with these arguments'
	@echo '  make data DATASETS="fashion_mnist cifar10"                 download once; jobs never do'

train: .venv/.ready ## train a network (ARGS="group=value key=value ...")
	@$(BIN)/python train.py $(ARGS)

test: .venv/.ready-dev ## run the tests on all cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

slurm: .venv/.ready-dev ## run the tests on a real SLURM cluster on this machine
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slurm -n 2 --dist loadfile $(ARGS) tests/slurm

tpu: .venv-tpu/.ready ## run the tests of trainer=tpu, on the processor in place of a TPU, in .venv-tpu (8 GB)
	@PJRT_DEVICE=CPU OMP_NUM_THREADS=1 .venv-tpu/bin/python -m pytest -m tpu $(ARGS) tests/test_tpu.py

goals: .venv/.ready-dev ## train to the README's figures on real data, one after the other (an hour or two)
	@$(BIN)/python -m pytest -m goal -x -v $(ARGS) tests/test_goals.py

lint: .venv/.ready-dev ## style, types and the direction of imports
	@$(BIN)/ruff check $(PYTHON_FILES)
	@$(BIN)/ruff format --check $(PYTHON_FILES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.ready-dev ## put the code into the house style
	@$(BIN)/ruff check --fix $(PYTHON_FILES)
	@$(BIN)/ruff format $(PYTHON_FILES)

bench: .venv/.ready-dev ## measure speed, as ratios within one run
	@$(BIN)/python scripts/benchmark.py $(ARGS)

smoke: .venv/.ready ## every study at scale=smoke: the machinery of claims, in some minutes
	@for study in experiments/*/study.yaml; do \
		name=$$(basename $$(dirname $$study)); \
		$(BIN)/python scripts/reproduce.py study=$$name scale=smoke $(ARGS) || exit 1; \
	done

data: .venv/.ready ## download data sets (DATASETS="fashion_mnist cifar10")
	@$(BIN)/python scripts/prepare.py $(DATASETS) $(ARGS)

preview: .venv/.ready ## draw learning-rate schedules (ARGS="schedule=warmup_cosine")
	@$(BIN)/python scripts/preview.py $(ARGS)

conformance: .venv/.ready-dev ## every optimizer against every property of the contract: docs/conformance.md
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/conformance.py $(ARGS)

wheel: .venv/.ready-dev ## build the wheel into dist/
	@$(BIN)/python -m build --wheel --outdir dist .

clean: ## remove .venv, .venv-tpu, caches and built files; runs and data stay
	rm -rf .venv .venv-tpu dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh
	@echo "Installing into .venv (a few minutes the first time) ..." >&2
	@scripts/setup.sh
	@touch $@

.venv-tpu/.ready: pyproject.toml constraints-tpu.txt scripts/setup_tpu.sh
	@echo "Installing into .venv-tpu (some minutes the first time) ..." >&2
	@scripts/setup_tpu.sh
	@touch $@

.venv/.ready-dev: pyproject.toml constraints.txt scripts/setup.sh
	@echo "Installing into .venv, with the development tools (a few minutes the first time) ..." >&2
	@scripts/setup.sh dev
	@touch .venv/.ready $@
