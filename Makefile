# `make demo` and `make test` set up a virtual environment in .venv first, so that one command is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test lint clean

setup: $(INSTALLED)

# Modules are compiled when they are first imported, which most of them never are; each process would do it again if what it
# compiled were not kept.
unexport PYTHONDONTWRITEBYTECODE
$(INSTALLED): setup.cfg pyproject.toml constraints.txt tests/oracles.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[dashboard,tensorboard,datasets,webdataset,parquet,runtimes,ray,postgresql,test,lint]'
	$(BIN)/pip install --quiet --no-compile --no-deps --requirement tests/oracles.txt
	touch $@

demo: setup
	$(BIN)/nas run quickstart

# Forked from a process of their own, in which no runtime has left threads behind.
FORKED := $(addprefix tests/nas/search/test_, attempts.py database.py fidelity.py search_storage.py worker.py)

# These time devices, kill processes at certain moments, or have machines of their own: they run alone. All others run two at
# a time, in the order of their names: sorted by how many tests they have, files of few and long tests would come last, when
# one of the two has nothing left to do.
ALONE := $(filter-out %/test_train_processes.py, $(wildcard tests/e2e/test_*.py)) \
	$(addprefix tests/nas/export/test_, verification.py verified_quantities.py) tests/nas/search/test_ray_evaluation.py \
	$(addprefix tests/latency_predictors/test_, energy.py gaussian_process.py measuring.py \
	ray_engine.py repeatability.py ssh_device.py timing_graph_latency.py)
PARALLEL := --numprocesses 2 --dist loadfile --no-loadscope-reorder

test: setup
	status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) $(FORKED:%=--ignore=%) $(ALONE:%=--ignore=%) || status=1; \
	$(BIN)/python -m pytest $(FORKED) || status=1; \
	$(BIN)/python -m pytest $(ALONE) || status=1; \
	exit $$status

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
