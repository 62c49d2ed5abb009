# Needs make, a POSIX shell, Python 3.11 or newer and a package index; everything else goes into .venv.
# A step is done again only where pyproject.toml has changed since (the files .venv/.headstart-*).

VENV ?= .venv
PYTHON ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq

# Warnings are errors: a dead link, a page that nothing leads to, a docstring that cannot be read.
SITE := $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet --fresh-env -d build/doctrees docs site

.DEFAULT_GOAL := help
.PHONY: help setup demo test check docs bench clean
.DELETE_ON_ERROR:

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.headstart-demo ## make .venv with headstart, TensorFlow, three pretrained networks and the demo's pictures

demo: $(VENV)/.headstart-demo ## train on 2,000 real pictures and write demo/demo.keras and demo/demo.html
	$(BIN)/headstart demo

test: $(VENV)/.headstart-dev ## run the tests
	$(BIN)/python -m pytest

check: $(VENV)/.headstart-dev ## look over style, types, import direction and generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/make_cli_reference.py --check
	$(BIN)/python tools/fill_pages.py --check
	$(SITE)

docs: $(VENV)/.headstart-dev ## build the documentation into site/index.html
	$(SITE)

bench: $(VENV)/.headstart-dev ## measure against the rivals and write bench/RESULTS.md
	$(BIN)/python bench/run.py

clean: ## remove .venv and what the tools have left; the cache stays: see headstart cache clear
	rm -rf $(VENV) demo site build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A .venv that is here already and fits is used as it is.
$(VENV)/.headstart-venv:
	@if ! { tools/find-python $(BIN)/python && $(PIP) --version; } >/dev/null 2>&1; then \
		python=$$(tools/find-python "$(PYTHON)") && echo "making $(VENV) with $$($$python --version)" \
		&& $$python -m venv --clear $(VENV); fi
	@touch $@

$(VENV)/.headstart-demo: pyproject.toml | $(VENV)/.headstart-venv
	@echo "installing headstart with TensorFlow and its demo (about 2.2 GB)"
	@$(PIP) install --editable '.[cpu,demo]'
	@touch $@

$(VENV)/.headstart-dev: pyproject.toml | $(VENV)/.headstart-demo
	@echo "installing the developers' tools (about 0.6 GB more)"
	@$(PIP) install --editable '.[cpu,demo,dev]'
	@touch $@
