# `make help` lists the targets. Every one builds .venv first where it is absent or older than the lists it comes from.
# Paths are relative to this file's folder, so a clone whose path has spaces works.

PYTHON ?= python3
WORKERS ?= auto
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DOCS := .venv-docs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test lint bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## rank the quickstart's candidates and write the report to .robustradar/demo
	$(BIN)/robustradar rank quickstart --store .robustradar/store --out .robustradar/demo

test: $(READY) ## run all tests and doctests; ARGS="-k name -x" goes to pytest, WORKERS=0 runs in one process
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 $(ARGS)

lint: $(READY) ## ruff's rules and formatting, then mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY) ## run every benchmarks/bench_*.py in turn
	@set -e; for script in benchmarks/bench_*.py; do \
	  [ -e "$$script" ] || { echo "no benchmarks/bench_*.py to run" >&2; exit 1; }; \
	  echo "== $$script"; $(BIN)/python "$$script"; \
	done

docs: $(DOCS)/.ready ## build the documentation into build/docs, warnings being errors
	$(DOCS)/bin/sphinx-build -q -W --keep-going -E -b html -d build/doctrees docs build/docs
	@echo "Written: build/docs/index.html"

clean: ## remove the environment, caches, builds and the demo's results
	rm -rf $(VENV) $(DOCS) .robustradar build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# uv resolves and installs in seconds; where it cannot be had or cannot reach what pip is set up for, pip does the same.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv || echo "uv is not available; pip installs instead" >&2
	{ test -x $(BIN)/uv && $(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e ".[dev]"; } \
	  || $(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	@touch $@

# An environment of its own: it needs no torch, and what builds the site does not resolve beside torchattacks' requests.
$(DOCS)/.ready: docs/requirements.txt pyproject.toml
	@test -x $(DOCS)/bin/python || $(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python -m pip install --quiet -r docs/requirements.txt
	$(DOCS)/bin/python -m pip install --quiet --no-deps -e .
	@touch $@
