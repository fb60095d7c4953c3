# make quickstart: installs into .venv, runs the main job on the embedded data and shows the result.
# make install: the environment in .venv, with the command .venv/bin/distill, which reads this repository's code and configs.
# make test: installs, then lint, types, the site and tests, some of them with the lowest releases allowed (test-lowest). make test-all: also the slow, full-quality checks.
# make gpu-check: the tests and the benchmark for a machine with a GPU.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOWEST := .venv-lowest
LOWEST_TESTS ?= $(addprefix tests/,encodings/test_rows.py encodings/test_values.py encodings/test_text_columns.py encodings/test_tokens.py $(addprefix data/prepare/,test_pipeline.py test_csv_file.py test_json_file.py test_listed.py test_raw_types.py test_teacher.py) data/test_parquet_source.py data/stream/test_stream.py training/test_checkpoint_io.py)
MAKEFLAGS += -j2

.PHONY: install quickstart test test-lowest test-all gpu-check lint types docs format stats clean

install: $(INSTALLED)

quickstart: $(INSTALLED)
	$(BIN)/python train.py +experiment=quickstart

test: lint types docs test-lowest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# Reader, prepare, encodings of columns and checkpoints with the lowest releases that pyproject.toml allows; test-all takes all tests of data.
test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q $(LOWEST_PROCESSES) -m "not slow" -p no:cacheprovider $(LOWEST_TESTS)

test-all: LOWEST_PROCESSES = -n 2 --dist worksteal
test-all: LOWEST_TESTS = tests/schema tests/encodings tests/data tests/places tests/training/test_checkpoint_io.py
test-all: lint types docs test-lowest $(VENV)/.installed-all
	$(BIN)/python -m pytest

# On a machine with a GPU: the tests that want one, then what training reaches of a bare loop there.
gpu-check: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python scripts/benchmark.py benchmark=gpu

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# All pages as a site: build/site/index.html, to be read without a server. A link or an anchor that is not there is an error, and so is a
# page that no part of the site leads to; not with -q, which counts no warnings.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): pyproject.toml setup.py serving/pyproject.toml constraints.txt tools/install.sh
	PYTHON=$(PYTHON) tools/install.sh $(VENV) -c constraints.txt -e ./serving -e ".[dev]"
	touch $@

$(VENV)/.installed-all: $(INSTALLED)
	PYTHON=$(PYTHON) tools/install.sh $(VENV) -c constraints.txt -e ./serving -e ".[dev,test-all]"
	touch $@

$(LOWEST)/.installed: pyproject.toml serving/pyproject.toml constraints-lowest.txt tools/install.sh
	PYTHON=$(PYTHON) tools/install.sh $(LOWEST) -c constraints-lowest.txt -e ./serving -e . pytest pytest-timeout pytest-xdist hypothesis
	touch $@

# Files, lines, functions, what the exercises of the contributing guide touch, and how long the start takes.
stats: $(INSTALLED)
	$(BIN)/python tools/stats.py

clean:
	rm -rf $(VENV) $(LOWEST) .mypy_cache .pytest_cache .ruff_cache build src/*.egg-info
