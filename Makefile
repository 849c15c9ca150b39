# Everything a person runs here. `make` alone lists it.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help study test lint bench chaos validate clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "needs $(PYTHON); name another with: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[compiled,dev]"
	@touch $@

study: $(VENV)/.ready  ## the main job on scikit-learn's digits: 100 trials, ranked, reported
	$(BIN)/ablate study digits --trials 100

test: $(VENV)/.ready lint  ## lint, types and every test (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/.ready  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.ready  ## speed, side by side with a plain loop
	$(BIN)/python -m pytest -m bench
	$(BIN)/python -m bench

validate: $(VENV)/.ready  ## every network of the oracle by every kernel, the statistics by simulation, then on real training where the truth is known
	$(BIN)/python -m pytest -m slow_oracle tests/oracle
	$(BIN)/python -m bench.statistics
	$(BIN)/python -m bench.statistics.real

chaos: $(VENV)/.ready  ## hundreds of kills of a running study
	$(BIN)/python -m bench.chaos

clean:  ## remove what make made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
