# Everything happens in .venv; nothing here needs root.
# ROMKIT_CORPUS=DIR (with roms/, expected.json, rom-parser/) adds the tests on real ROM dumps.
# DGPUKIT_HOSTTEXT=DIR (with files/, expected/) adds the tests on texts that people pasted.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROMKIT_CORPUS ?= $(wildcard ../shared/corpus)
DGPUKIT_HOSTTEXT ?= $(wildcard ../shared/hosttext)
export ROMKIT_CORPUS DGPUKIT_HOSTTEXT
PYTEST := $(BIN)/python -m pytest

.PHONY: demo check lint test tools lab lab-check trials bench docs clean

demo: $(VENV)/.run
	@$(BIN)/python tests/fixtures/demo.py $(BIN)

check: lint
	$(PYTEST) -q -m "not slow and not corpus and not lab" -n auto --dist worksteal tests

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/deptry .

test: tools lint
	$(PYTEST) -n auto --dist worksteal -m "not lab" tests
	$(PYTEST) -n 2 --dist loadgroup -m "not trial" tests/lab
	$(PYTEST) --nbmake --nbmake-timeout=120 -n auto notebooks

# What some tests compare with. Without the right to install it, those tests skip and say so.
tools:
	@sh tests/tools.sh

# A shell in a machine of its own, with an IOMMU and a GPU to lose: make lab TOPOLOGY=desktop
TOPOLOGY ?= laptop
lab: $(VENV)/.test
	@cd tests && $(CURDIR)/$(BIN)/python -m lab $(TOPOLOGY)

# Every plan is failed and killed at every step, guests are started and lost: most of an hour.
trials: tools $(VENV)/.test
	$(PYTEST) -n 2 --dist loadgroup -m trial tests/lab

lab-check: $(VENV)/.test
	@cd tests && $(CURDIR)/$(BIN)/python -m lab check

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
