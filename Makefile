# `make demo` and `make test` set up a virtual environment in .venv first, so that one command is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test lint clean

setup: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt tests/oracles.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dashboard,tensorboard,datasets,webdataset,parquet,runtimes,ray,postgresql,test,lint]'
	$(BIN)/pip install --quiet --no-deps --requirement tests/oracles.txt
	touch $@

demo: setup
	$(BIN)/nas run quickstart

# Tests that only compute run two at a time; those that time devices, or kill processes at certain moments, run alone.
COMPUTING := tests/search_spaces tests/nas/training tests/nas/tasks tests/experiments \
	tests/latency_predictors/test_nasflat.py tests/latency_predictors/test_help.py \
	$(filter-out %ray_evaluation.py %database.py %worker.py, $(wildcard tests/nas/search/test_*.py))

test: setup
	status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(COMPUTING) || status=1; \
	$(BIN)/python -m pytest $(COMPUTING:%=--ignore=%) || status=1; \
	exit $$status

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
