# Every target makes its own virtual environment first; it is built once and again when the dependencies change.
# Needed: Python 3.10 or newer with venv, a C++ compiler, make.

PYTHON ?= python3
# More arguments for pip, say `--find-links DIR` or `--extra-index-url URL` to take torch's CPU build from.
PIP_ARGS ?=
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_GROUPS := array network sim synth

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow sim lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[all]'
	touch $@

demo: $(STAMP) ## train, quantise, compile and verify a network in RTL simulation
	$(BIN)/codesign demo

test: $(STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -n $(JOBS)

test-slow: $(STAMP) ## the tests that take longer
	$(BIN)/python -m pytest -n $(JOBS) -m slow

sim: $(STAMP) ## the cocotb regression of the components and of the top level
	$(BIN)/python -m sim.cocotb_runner

lint: $(STAMP) ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP) ## measure everything; results in benchmarks/results
	for group in $(BENCH_GROUPS); do \
	  $(BIN)/codesign bench $$group --json benchmarks/results/$$group.json || exit 1; \
	done
	$(BIN)/python benchmarks/table.py

clean: ## remove everything built, the virtual environment included
	rm -rf build $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
