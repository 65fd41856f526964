# Each target makes what it needs: a virtual environment in .venv, with the extra `dev` of pyproject.toml in the versions
# of requirements.lock.
# `make demo` and `make test` start private database servers of their own, never the system's.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Hundreds of processes begin in a run of the tests: none compiles again what another has compiled.
export PYTHONDONTWRITEBYTECODE :=
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check -c requirements.lock

.PHONY: help demo demo-kafka docs test test-spark check lint torture bench-export bench-warehouse bench-kafka bench-tables bench-waits bench-growth bench-bucket fuzz mutants clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1	/' | expand -t 18

demo: $(READY)  ## Run the whole job on sample data, from ksqlDB to queries
	$(BIN)/python -m demo

demo-kafka: $(READY)  ## Export one stream by REST and from a private Kafka by turns: no row comes twice
	$(BIN)/python -m demo.two_ways

docs: $(READY)  ## Write the reference from the code, and build the site into build/site (English, French; needs npm once)
	$(BIN)/python -m docsite

test: $(READY)  ## Run all tests but those of Spark, four at a time: some wait while others work
	$(BIN)/python -m pytest -n 4 --dist worksteal -m "not spark"

test-spark: $(READY)  ## Run the tests that start Spark; the first time installs it into build/spark (510 MB)
	$(BIN)/python -m pytest -m spark

check: lint  ## Lint, types, and the short tests without servers (an eighth of the cases of those that try many)
	$(BIN)/python -m pytest -m "not mysql and not server and not long and not spark" --ignore=tests/integration -q --hypothesis-profile=quick

lint: $(READY)  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

torture: $(READY)  ## Kill, cut and crowd it; writes docs/reliability.md (TORTURE=full: at size)
	$(BIN)/python -m tests.torture

bench-export: $(READY)  ## Measure exports of a stream; writes docs/performance.md (BENCH=quick: a tenth, writes nothing)
	$(BIN)/python -m benchmarks.export

bench-warehouse: $(READY)  ## Measure loads of the warehouse; writes docs/performance.md (BENCH=quick: a tenth, writes nothing)
	$(BIN)/python -m benchmarks.warehouse

bench-kafka: $(READY)  ## Measure exports from Kafka; writes docs/performance.md (BENCH=quick: a tenth, writes nothing)
	$(BIN)/python -m benchmarks.kafka

bench-tables: $(READY)  ## Measure a table's snapshot from Kafka; writes docs/performance.md (BENCH=quick: a tenth, writes nothing)
	$(BIN)/python -m benchmarks.tables

bench-waits: $(READY)  ## Measure feeds that only wait, and compressions; writes docs/performance.md
	$(BIN)/python -m benchmarks.waits

bench-growth: $(READY)  ## Measure what a lake costs that grows; writes docs/performance.md (BENCH=quick: a tenth, writes nothing)
	$(BIN)/python -m benchmarks.growth

bench-bucket: $(READY)  ## Measure a year of hourly runs in a bucket; writes docs/performance.md (BENCH=quick: some days, writes nothing)
	$(BIN)/python -m benchmarks.bucket

fuzz: $(READY)  ## Try ten million answers, and payloads, to make the two decoders differ (hours; FUZZ=n: so many)
	$(BIN)/python -m tests.decode.fuzz $(FUZZ)
	$(BIN)/python -m tests.decode.fuzz_payloads $(FUZZ)

mutants: $(READY)  ## Change the code at its heart, one place at a time: which changes does no fast test notice?
	$(INSTALL) '.[mutants]'
	$(BIN)/mutmut run
	$(BIN)/mutmut results

clean:  ## Remove the virtual environment and everything that was built
	rm -rf $(VENV) build native/target mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(READY): requirements.txt requirements.lock $(wildcard native/src/*.rs native/Cargo.*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 ..."; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && apt-get install -y -q python3-venv && $(PYTHON) -m venv --clear $(VENV); \
	  else echo "Python's venv module is missing: install Debian's package python3-venv"; exit 1; fi; }
	@echo "Installing the Python packages of requirements.lock into $(VENV): once, some minutes"
	@while sleep 30 >/dev/null 2>&1 && kill -0 $$$$ 2>/dev/null; do echo "  still installing"; done & said=$$!; \
	  $(INSTALL) '.[dev]'; code=$$?; kill $$said; exit $$code
	@native/build.sh $(BIN)
	@touch $@
