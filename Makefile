# `make help` lists what there is. Needs Python 3.11 or newer, git and make; everything else is set up in .venv or, for
# the programs that the tests drive, installed by scripts/require. PYTHON=/path/to/python3 chooses the interpreter.

VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
IMAGE  ?= forwarder:dev
FUZZ   := .fuzz/venv

LOCK   := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
          --no-emit-index-url --no-emit-find-links --no-header $(ARGS)

# Debian puts daemons where a user's PATH does not look.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help setup demo test faults soak fuzz bench lint fmt docs screenshots image lock clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with exactly what the lock names

$(READY): requirements-dev.lock pyproject.toml
	@test -n "$$PYTHON" || scripts/require python
	"$${PYTHON:-$$(scripts/find-python)}" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## run everything on this machine, no AWS account needed (SECONDS=20 stops by itself)
	$(BIN)/forwarder demo $(if $(SECONDS),--seconds $(SECONDS))

test: setup ## run the whole suite (ARGS="-k spool" chooses)
	scripts/require mosquitto prometheus promtool chromium
	$(BIN)/pytest $(ARGS)

faults: setup ## the fault matrix in its long form, as a table (ARGS=--short, or names of rows)
	scripts/require mosquitto
	$(BIN)/python -m tests.fault $(ARGS)

soak: setup ## steady load under random faults (MINUTES=10)
	scripts/require mosquitto
	$(BIN)/python -m tests.fault.soak --minutes $(or $(MINUTES),10) $(ARGS)

bench: setup ## measure events per second, CPU per event and latency
	scripts/require mosquitto
	$(BIN)/python -m bench $(ARGS)

lint: setup ## style, types, layering, scripts, Dockerfile, and that the generated tables are current
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck scripts/* .ci/run
	$(BIN)/hadolint Dockerfile
	$(BIN)/python docs/generate.py --check

fmt: setup ## mend what can be mended by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: setup ## write the tables of README.md anew from the code
	$(BIN)/python docs/generate.py

fuzz: $(FUZZ)/.ready ## search for bytes that break a parser (SECONDS=60 for each, ARGS="decode lines" chooses)
	$(FUZZ)/bin/python -m tests.fuzz.run $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

$(FUZZ)/.ready: requirements-fuzz.lock
	"$${PYTHON:-$$(scripts/find-python)}" -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements-fuzz.lock
	@touch $@

screenshots: setup ## take the pictures of docs/console.md anew
	scripts/require mosquitto chromium
	PICTURES=docs/pictures $(BIN)/pytest tests/browser/test_pictures.py

image: ## build the container image (IMAGE=name:tag)
	docker build --tag $(IMAGE) .

lock: setup ## resolve the dependencies anew (ARGS=--upgrade takes newer ones)
	$(LOCK) pyproject.toml --output-file requirements.lock
	$(LOCK) --group build --output-file requirements-build.lock
	$(LOCK) pyproject.toml --extra demo --group dev --output-file requirements-dev.lock
	$(LOCK) pyproject.toml --group fuzz --output-file requirements-fuzz.lock

clean: ## remove the environment and what tools left behind
	rm -rf $(VENV) .fuzz dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
