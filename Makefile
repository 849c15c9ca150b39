# Developer commands; `make` lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin

# Python keeps its byte code: a process of ablate then starts in 3.5 s instead of 5 (n = 3, 2-core CPU).
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help study test matrix extras lint docs coverage bench scale chaos validate claims mutate clean

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

$(VENV)/.ready: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "needs $(PYTHON); name another with: make PYTHON=python3.12 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[compiled,dev]"
	@touch $@

study: $(VENV)/.ready  ## run the full study on scikit-learn's digits: 100 trials, ranking, report
	$(BIN)/ablate study digits --trials 100

test: $(VENV)/.ready  ## run all tests, ruff and mypy among them (under 10 minutes on 2 cores)
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

matrix: $(VENV)/.ready  ## run all tests with torch's kernels without vectors, then with AVX2, then with many threads
	ATEN_CPU_CAPABILITY=default $(BIN)/python -m pytest --numprocesses auto --dist worksteal
	ATEN_CPU_CAPABILITY=avx2 $(BIN)/python -m pytest --numprocesses auto --dist worksteal
	OMP_NUM_THREADS=8 $(BIN)/python -m pytest

extras: $(VENV)/.ready  ## install the optional packages (MLflow, Weights & Biases, Parquet, datasets) and run the tests that need them
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[compiled,dev,datasets,mlflow,parquet,wandb]"
	$(BIN)/python -m pytest -rs tests/export tests/tasks

lint: $(VENV)/.ready  ## run ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

coverage: $(VENV)/.ready  ## run all tests once with coverage, worker processes included, and list what no test reaches
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report term-missing:skip-covered

docs: $(VENV)/.ready  ## build the documentation into site/: links are checked, a warning is an error
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[compiled,dev,docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.ready  ## run the benchmarks against a plain training loop
	$(BIN)/python -m pytest -m bench
	$(BIN)/python -m bench

scale: $(VENV)/.ready  ## 1 to 64 workers, one driver's runs a second, a ledger of a million runs with its report
	$(BIN)/python -m bench.scale workers --jobs 15
	$(BIN)/python -m bench.scale driver --runs 5000
	$(BIN)/python -m bench.scale ledger

validate: $(VENV)/.ready  ## every oracle network with every kernel, the statistics by simulation, then on real training with known effects
	$(BIN)/python -m pytest -m slow_oracle
	$(BIN)/python -m bench.statistics
	$(BIN)/python -m bench.statistics.racing
	$(BIN)/python -m bench.statistics.gold_studies
	$(BIN)/python -m bench.statistics.real

claims: $(VENV)/.ready  ## test claims of the literature by paired experiments; writes the table of docs/claims.md
	$(BIN)/ablate claims --csv bench/results/claims.csv --page docs/claims.md

mutate: $(VENV)/.ready  ## change the catalogue's mathematics in one place at a time; the tests must notice
	$(BIN)/python -m bench.mutate

chaos: $(VENV)/.ready  ## kill a running study hundreds of times and check the ledger, and workers of Dask and Ray clusters
	$(BIN)/python -m bench.chaos
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[compiled,dev,dask,ray]" executorlib parsl
	$(BIN)/python -m pytest -m chaos tests/executors

clean:  ## remove generated files
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache site
