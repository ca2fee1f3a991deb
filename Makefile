# One word a task, for people and for CI. Everything lives in .venv; a second run installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format docs networks zoo bench wheel clean

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.demo  ## the main job, end to end, on handwritten digits of many sizes (3 minutes)
	$(BIN)/python examples/demo.py

test: $(VENV)/.dev  ## run the tests
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --maxprocesses 4 --dist worksteal

test-slow: $(VENV)/.dev  ## run the slow tests as well: wheel, demo, long training
	$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(VENV)/.dev  ## let ruff format and mend what it can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.dev  ## write the generated page of docs/: which functions have a rule
	$(BIN)/python docs/functions_table.py

networks: $(VENV)/.dev  ## write docs/networks.md: cost, receptive field and speed of each network (10 minutes)
	$(BIN)/python docs/networks_table.py

zoo: $(VENV)/.dev  ## verify the networks of timm, torchvision and segmentation_models_pytorch: docs/zoo.md (25 minutes)
	$(BIN)/python benchmarks/zoo_table.py

bench: $(VENV)/.dev  ## the benchmarks of the README, on this machine (an hour)
	$(BIN)/python benchmarks/native_vs_fixed.py
	$(BIN)/python benchmarks/exactness_tax.py
	$(BIN)/python benchmarks/compilation.py

wheel: $(VENV)/.dev  ## build the wheel
	$(BIN)/python -m build --wheel

clean:  ## remove what was made, the environment included
	rm -rf $(VENV) build dist runs .pytest_cache .mypy_cache .ruff_cache

# torch comes first and pinned: where a CPU build is provided it is taken, and nothing later replaces it.
$(VENV)/.base: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $$($(PYTHON) --version) is too old; Python 3.11 or newer is required (make PYTHON=python3.12 ...)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt torch
	@touch $@

$(VENV)/.demo: $(VENV)/.base pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable ".[demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.base pyproject.toml
	$(PIP) install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@
