# Everything a newcomer needs; `make help` lists it. Works in a path with spaces: only relative paths are used.
SHELL := /bin/bash
PYTHON ?= python3.11
BIN := .venv/bin
HOME_DIR ?= .seg_assets
PORT ?= 3000
SIZE ?= full
FAULTS ?= 200
FUZZ ?= 2000
BASE ?=
DAEMON ?=

# Tests that are run without measuring coverage, which costs a third more CPU time: what they reach, others reach too.
UNCOVERED := $(wildcard $(addprefix tests/,benchmarks end_to_end golden package soak studies))

# Nothing we ship talks to anyone: Evidently, dbt and Dagster read these; Dagster's own switch is in deploy/dagster.yaml.
export DO_NOT_TRACK := 1
export DAGSTER_DISABLE_TELEMETRY := 1
export DBT_SEND_ANONYMOUS_USAGE_STATS := false

DEMO_ENV = SEG_ASSETS_HOME="$(HOME_DIR)/demo" SEG_ASSETS_SOURCE=complete_journey \
	SEG_ASSETS_TIME_ZONE=America/New_York SEG_ASSETS_START_DAY=2017-01-01 SEG_ASSETS_END_DAY=2017-12-31

.PHONY: help env demo ui test golden soak fuzz shared bench choosing drift-study hysteresis-study tables-doc lint format site dist clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

env: .venv/.installed  ## Create the environment in .venv

.venv/.installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (a minute or two, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch .venv/.installed

demo: env  ## Load a real shop, run its first quarter through every room, print what came out
	@$(DEMO_ENV) $(BIN)/python -m seg_assets.cli demo

ui: env  ## Open the Dagster UI on the demo (schedule, sensors and daemon running), http://localhost:3000
	@$(DEMO_ENV) SEG_ASSETS_AUTOMATION=true $(BIN)/python -m seg_assets.cli ui --port $(PORT)

test: env  ## Run the whole test suite (COVERAGE=1: and say which share of the package the rooms' own tests reach)
ifdef COVERAGE
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report= $(addprefix --ignore=,$(UNCOVERED))
	@echo "coverage: $$($(BIN)/python -m coverage report --format=total) % of the package's lines, by the rooms' own tests"
	$(BIN)/python -m pytest -n 2 --dist loadfile $(UNCOVERED)
else
	$(BIN)/python -m pytest -n 2 --dist loadfile
endif

golden: env  ## Prove that no content changed (BASE=<commit>: record anew first, for another CPU, whose last bits may differ)
	$(if $(BASE),$(BIN)/python -m tests.golden --base "$(BASE)")
	$(BIN)/python -m tests.golden

soak: env  ## Kill, fill, damage and race a small shop FAULTS=200 times; each must heal (DAEMON=1: by the daemon alone)
	$(BIN)/python -m tests.soak --faults $(FAULTS) $(if $(DAEMON),--daemon) --json "$(HOME_DIR)/soak.json"

fuzz: env  ## Make up FUZZ=2000 shops with files, and compare what is read with plain Python (6 minutes)
	FUZZ=$(FUZZ) $(BIN)/python -m pytest -n 0 -q -s tests/events/test_fuzz.py

shared: env  ## Two workers on a real Postgres and S3 server give the lake that one gives on a folder (minutes)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,shared]'
	$(BIN)/python -m pytest -m slow tests/end_to_end/test_shared.py

bench: env  ## Measure beside raw DuckDB, pandas and polars (SIZE=small: 3 minutes; full, the default: 45)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks --size $(SIZE)

choosing: env  ## Measure every algorithm for docs/choosing.md (PANEL=home of a lake of the real panel adds it)
	$(BIN)/python -m studies.compare --write docs/choosing.md $(if $(PANEL),--panel "$(PANEL)")

drift-study: env  ## Simulate shifts for docs/drift.md: delays, false alarms, did it help (about 8 quiet minutes)
	$(BIN)/python -m studies.drift shifts

hysteresis-study: env  ## Weigh moves against validity for docs/moves.md on the lake of the settings (FROM=, TO= days)
	$(BIN)/python -m studies.hysteresis --from $(FROM) --to $(TO)

tables-doc: env  ## Write docs/tables.md from the specs of the tables
	$(BIN)/python -m studies.tables_doc

lint: env  ## Style, which room may import which, types, SQL, and whether Dagster loads it all
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pyright
	$(BIN)/python -m sqlfluff lint --disable-progress-bar dbt_project/models
	$(BIN)/python -m dagster definitions validate -m seg_assets.definitions
	$(BIN)/dg check defs

format: env  ## Mend style where a tool can
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

site: env  ## Build the documentation and the API pages into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

dist: env  ## Build the source distribution and the wheel into dist/
	$(BIN)/python -m build --no-isolation

clean:  ## Remove what was computed (.seg_assets); the environment stays
	rm -rf $(HOME_DIR)
