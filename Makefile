# One command per wish. Everything works with plain Python 3.11+ and pip.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ARGS ?=

.PHONY: run test install check fix docs bench fuzz services type lock clean

run: $(STAMP)        ## Start a control plane and one worker on this machine
	$(BIN)/mooring dev

test: $(STAMP)       ## Install what tests need and run them all
	$(BIN)/python -m tools.test $(ARGS)

install: $(STAMP)    ## Make .venv with everything

check: $(STAMP)      ## Style, types, import directions, generated parts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m mooring.plugin.reference --check
	$(BIN)/python -m tools.docs --check

fix: $(STAMP)        ## Repair what can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m mooring.plugin.reference
	$(BIN)/python -m tools.docs

docs: $(STAMP)       ## Build the documentation as a site, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(STAMP)      ## Measure, side by side with a baseline
	$(BIN)/python -m bench $(ARGS)

fuzz: $(STAMP)       ## Ask what strangers may ask, by the hundred thousand: make fuzz ARGS="--minutes 5"
	$(BIN)/python -m tools.fuzz $(ARGS)

services: $(STAMP)   ## Install and start the real servers that live tests use
	$(BIN)/python -m tools.services start

type: $(STAMP)       ## Begin a new connection type: make type NAME=redis
	$(BIN)/python -m tools.new_type $(NAME)

lock: $(STAMP)       ## Renew requirements.lock
	$(BIN)/python -m tools.lock

clean:               ## Forget what was installed and measured
	rm -rf $(VENV) .services build

$(STAMP): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	touch $(STAMP)
