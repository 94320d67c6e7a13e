# Everything runs in .venv, made by `make install` (which the other targets call when it is missing or out of date). The demo
# installs the package alone, without what tests, benchmarks and the app need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core
INSTALLED := $(VENV)/.installed
DEMO_RUN := runs/quickstart
# Of the tested version: another may find fault with what is well.
TYPESCRIPT := 5.9.3
# One thread for each test process: two of them on two cores would otherwise start four threads and wait for each other.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NUMBA_NUM_THREADS=1
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test lint types format schema docs app bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*  ## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

install: $(INSTALLED)  ## install into .venv, with the tested versions of constraints.txt

$(CORE): pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found: install Python 3.11 or newer, or name one: make install PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: rsd_med needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1): name a newer one, for example: make install PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: $(PYTHON) cannot make a virtual environment: on Debian or Ubuntu run  apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(INSTALLED): $(CORE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench,app,docs]'
	@touch $@

demo: $(CORE)  ## from corrupted scans to a one-step generator, about 10 minutes on two cores
	$(BIN)/python -m rsd_med.train protocols/quickstart.yaml --run-dir $(DEMO_RUN)
	@echo "The report: $(DEMO_RUN)/report.html (open it in a browser)"

# What Python has compiled is kept, whatever the environment says: tests start many processes, which would compile it anew.
test: $(INSTALLED)  ## run the tests
	PYTHONDONTWRITEBYTECODE= $(ONE_THREAD) $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: $(INSTALLED)  ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

types:  ## check the types of the app's JavaScript, where npx (of Node.js) is there
	@command -v npx >/dev/null || { echo "no npx here: the JavaScript is not type-checked"; exit 0; }; \
	npx --yes --package typescript@$(TYPESCRIPT) tsc -p .

format: $(INSTALLED)  ## mend style and format where a machine can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(INSTALLED)  ## renew the JSON schema that editors use to complete and check protocols
	$(BIN)/python -m rsd_med.schema --out docs/protocol.schema.json

docs: $(INSTALLED)  ## build the site of the documentation into build/site; fails on a broken link or docstring
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site: build/site/index.html (open it in a browser)"

app: $(INSTALLED)  ## open the browser app, on the demo model or on a run: make app RUN=runs/quickstart
	$(BIN)/python -m apps.inspector $(RUN)

bench: $(INSTALLED)  ## run every benchmark; fails if a figure falls short of its bound
	@failed=; for name in $(notdir $(basename $(shell grep -l 'def main' benchmarks/[a-z]*.py)) $(patsubst %/__main__.py,%,$(wildcard benchmarks/*/__main__.py))); do \
	  echo "== $$name"; \
	  $(BIN)/python -m benchmarks.$$name || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "fell short or failed:$$failed" >&2; exit 1; }

clean:  ## remove what tools cache; keeps .venv and runs
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
