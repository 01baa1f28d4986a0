# `make demo` and `make test` set up a virtual environment in .venv first, so that one command is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: setup demo test lint docs clean

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

# These time devices, and most take no second try: they run alone. All others run two at a time, in the order of their names:
# else the few long ones of tests/e2e would come last, and one process wait for them.
ALONE := $(addprefix tests/e2e/test_, kill.py language_chain.py readme.py) \
	$(addprefix tests/nas/export/test_, verification.py verified_quantities.py) \
	$(addprefix tests/latency_predictors/test_, calibration.py energy.py measuring.py repeatability.py \
	timing_graph_latency.py)

test: setup
	status=0; \
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(FORKED:%=--ignore=%) $(ALONE:%=--ignore=%) || status=1; \
	$(BIN)/python -m pytest $(FORKED) || status=1; \
	$(BIN)/python -m pytest $(ALONE) || status=1; \
	exit $$status

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Pages of all modules, from their docstrings; docs/api/index.html is the first one.
docs: setup
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	PYTHONWARNINGS=ignore $(BIN)/pdoc --docformat google --output-directory docs/api \
		$$(find nas search_spaces latency_predictors -name '*.py' ! -name '__main__.py' \
		| sed -e 's|/__init__.py$$||' -e 's|\.py$$||' -e 's|/|.|g' | sort)

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache *.egg-info
