# Everything happens in .venv; nothing here needs root.
# ROMKIT_CORPUS=DIR (with roms/, expected.json, rom-parser/) adds the tests on real ROM dumps.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROMKIT_CORPUS ?= $(wildcard ../shared/corpus)
export ROMKIT_CORPUS
PYTEST := $(BIN)/python -m pytest

.PHONY: demo check lint test tools bench docs clean

demo: $(VENV)/.run
	@$(BIN)/python tests/fixtures/demo.py $(BIN)

check: lint
	$(PYTEST) -q -m "not slow and not corpus" -n auto --dist worksteal tests

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .

test: tools lint
	$(PYTEST) -n auto --dist worksteal tests
	$(PYTEST) --nbmake --nbmake-timeout=120 -n auto notebooks

# What some tests compare with. Without the right to install it, those tests skip and say so.
tools:
	@sh tests/tools.sh

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) build dist docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ $(VENV)/.run

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@
