# Two commands are enough: `make demo` watches an agent learn, `make test` checks everything.
# Needs Python 3.11 or newer, make and a package index; nothing is compiled.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
FAST   := -m "not slow"
PYTEST := $(BIN)/python -m pytest -q -n 2 --dist worksteal

.PHONY: help setup setup-dev demo serve test test-fast check lint types layers format docs soak bench requirements clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.product  ## install what the product and its demo need
setup-dev: $(VENV)/.development  ## install what development adds

$(VENV)/.product: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("tokenspace needs Python 3.11 or newer: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	@echo "installing into $(VENV) (about a minute) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) -r requirements.txt
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.product
	@echo "installing the development tools …"
	@$(PIP) -r requirements-dev.txt
	@touch $@

demo: setup  ## watch a real model with frozen weights learn (about five minutes)
	@$(BIN)/tokenspace demo $(ARGS)

serve: setup  ## the gateway with the embedded model, learning beside it (ARGS="--port 9000 …")
	@$(BIN)/tokenspace serve --learn $(ARGS)

test: setup-dev  ## lint, types, layers and all tests (about twelve minutes)
	@$(MAKE) --no-print-directory lint types layers
	@$(PYTEST)

test-fast: setup-dev  ## the tests that are quick (a few minutes in all)
	@$(PYTEST) $(FAST)

check: setup-dev lint types layers test-fast  ## what every commit must pass

lint: setup-dev
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .

types: setup-dev
	@$(BIN)/basedpyright --level error | tail -n 1

layers: setup-dev
	@$(BIN)/lint-imports --no-logo 2>&1 | grep -E 'kept|broken' || true
	@$(BIN)/lint-imports --no-logo > /dev/null

format: setup-dev  ## put the code into its format
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

docs: setup  ## write the generated pages again
	@$(BIN)/python docs/generate.py

soak: setup-dev  ## the full counts that are too long for a test (about ten minutes)
	TOKENSPACE_KILLS=10000 $(BIN)/python -m pytest -q tests/chaos --timeout 14400

bench: setup-dev  ## every benchmark, at full size
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

requirements:  ## compile the pinned requirements again (needs uv)
	uv pip compile requirements.in --override overrides.txt --python-version 3.11 --universal --quiet \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.txt
	uv pip compile requirements-dev.in --override overrides.txt --python-version 3.11 --universal --quiet \
	  --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements-dev.txt

clean:  ## remove the environment and everything that was generated
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache tokenspace-demo
