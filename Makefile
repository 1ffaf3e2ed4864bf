# make demo     the main job on this machine, set-up included
# make test     everything CI checks, set-up included
# make help     all targets

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runtime/log

# Packages that the tests need in addition to the sandbox's, if this machine lacks the programs: an
# engine, a second kind of shell, virtual machines, and a C compiler.
missing = $(if $(shell command -v $(1) 2>/dev/null || ls /usr/sbin/$(1) 2>/dev/null),,$(2))
TEST_PACKAGES := $(call missing,dockerd,docker.io) $(call missing,busybox,busybox-static) \
	$(call missing,qemu-system-x86_64,qemu-system-x86) $(call missing,qemu-img,qemu-utils) \
	$(if $(wildcard /usr/share/qemu/firmware/*x86_64*),,ovmf) \
	$(call missing,cc,gcc libc6-dev)

.PHONY: help setup packages test-packages demo test run-tests soak lint types docs unit bench clean

help: ## List the targets.
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' Makefile | expand -t 16

setup: $(VENV)/.ready ## Make the virtual environment in .venv.

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9))' || \
		{ echo "Python 3.9 or newer is needed; say which: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv is missing. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[test,lint,docs,bench]'
	$(BIN)/python -m pip check
	@touch $@

packages: setup ## Install the Debian packages a sandbox node needs, where they are missing.
	@./tools/install-packages $$($(BIN)/python -m lisa_container.platforms.sandbox packages)

test-packages: packages
	@./tools/install-packages $(TEST_PACKAGES)

demo: setup ## Run the main job: suites in containers on a sandbox node, over SSH.
	@-$(MAKE) --no-print-directory packages
	@./tools/demo $(BIN)

test: setup test-packages lint ## Set-up, linters, types, docs and all tests.
	@$(MAKE) --no-print-directory -j3 types docs run-tests || \
		{ echo "make test failed: see the lines with *** above."; exit 1; }

run-tests: setup
	@./tools/run-tests $(BIN)/python

soak: setup test-packages ## The long tests at their full length (make test takes samples): over an hour.
	LISA_CONTAINER_TEST_SOAK=1 $(BIN)/python -m pytest -m "soak or sampled" --timeout=7200 --durations=0

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

types: setup
	$(BIN)/mypy

docs: setup ## Build the documentation into docs/_build/html.
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build/html

unit: setup ## Only the tests of pure logic; they need no root and no engine.
	$(BIN)/python -m pytest -q tests/unit

bench: setup test-packages ## Compare with the alternatives and write docs/performance.md; ROWS="command start" for some.
	$(BIN)/python -m bench $(ROWS)

clean: ## Remove what the targets above made (not the sandbox's cache).
	rm -rf $(VENV) runtime docs/_build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage*
