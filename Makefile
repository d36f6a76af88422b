# Every target makes its own virtual environment first; it is built once and again when the dependencies change.
# Needed: Python 3.10 or newer with venv, a C++ compiler, make.

PYTHON ?= python3
# More arguments for pip, say `--find-links DIR` or `--extra-index-url URL` to take torch's CPU build from.
PIP_ARGS ?=
# PYNQ has no packages for Python 3.13 and newer: say here which other one to take, 3.10 to 3.12.
PYNQ_PYTHON ?= $(PYTHON)
JOBS ?= 2
BOARD ?= pynq-z2
FLOW ?= vivado

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYNQ31 := .venv-pynq31/.installed
PYNQ40 := .venv-pynq40/.installed
BENCH_GROUPS := array driver explore network presets sim synth

.DEFAULT_GOAL := help
.PHONY: help demo explore-demo test test-slow test-board sim lint bench bitstream clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PIP_ARGS) --constraint constraints.txt --editable '.[all]'
	touch $@

$(PYNQ31) $(PYNQ40): .venv-%/.installed: pyproject.toml
	@$(PYNQ_PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "PYNQ needs Python 3.10 to 3.12: make PYNQ_PYTHON=python3.12 ..."; exit 1; }
	$(PYNQ_PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet $(PIP_ARGS) --editable '.[$*,notebook]'
	touch $@

demo: $(STAMP) ## train, quantise, compile and verify a network in RTL simulation
	$(BIN)/codesign demo

explore-demo: $(STAMP) ## search a network and its hardware together: a sweep of a minute, its report
	$(BIN)/codesign explore examples/explore/digits.yaml -o build/explore-demo

test: $(STAMP) $(PYNQ31) ## the tests that take minutes
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow"

test-slow: $(STAMP) $(PYNQ31) $(PYNQ40) ## the tests that take longer
	$(BIN)/python -m pytest -n $(JOBS) -m slow

test-board: $(STAMP) $(PYNQ31) $(PYNQ40) ## PYNQ itself, each version on a simulated board
	$(BIN)/python -m pytest -m pynq

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

bitstream: $(STAMP) ## a board's bitstream: BOARD=zcu104; FLOW=open CHIPDB=FILE XRAY=FOLDER for the open tools
	$(BIN)/codesign overlay --board $(BOARD) --flow $(FLOW) --build --output build/overlays/$(BOARD) \
	  $(if $(CHIPDB),--chipdb $(CHIPDB)) $(if $(XRAY),--xray $(XRAY))

clean: ## remove everything built, the virtual environments included
	rm -rf build $(VENV) .venv-pynq31 .venv-pynq40 .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
