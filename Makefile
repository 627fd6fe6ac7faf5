# Every target says what it does: `make help`. Recipes are thin; deploy/dev and cargo work.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

cache := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bashu
# Outside the tree, so that clean checkouts share what was built: the gateway alone is 860 crates.
export CARGO_TARGET_DIR ?= $(cache)/target
# The gateway wants other features of the same crates; apart, neither rebuilds the other's.
gateway_dir := $(CARGO_TARGET_DIR)/gateway
# hive-router pins crates that declare a newer Rust than they need.
flags := --locked --ignore-rust-version
scripts := *.sh up down with check deps build test bench chaos fuzz schema ci compose tools deny ../../.ci/run
binaries := $(CURDIR)/.dev/bin
export BASHU_GATEWAY_BIN := $(binaries)/bashu-gateway
export BASHU_BIN := $(binaries)/bashu

.PHONY: help deps build run status stop test bench sim chaos fuzz fmt lint schema schema-check tools deny ci

help: ## Show what each target does
	@echo "Bashu. First time: make run"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## Check what the machine needs, and as root install what is missing
	@echo "== deps: PostgreSQL, Redis, Java and Kafka's jars"
	@deploy/dev/deps

build:
	@deploy/dev/build

run: ## Start both unions, play the journeys through the gateways, stay up until Ctrl-C
	@echo "== deps: PostgreSQL, Redis, Java and Kafka's jars"
	@deploy/dev/deps run
	@deploy/dev/up run
	@deploy/dev/build
	@echo "== run: both unions; Ctrl-C stops Bashu, 'make stop' its servers too"
	@BASHU_DEV_DIR="$(CURDIR)/.dev/run" "$(BASHU_BIN)" dev

status: ## Tell which servers answer
	@deploy/dev/check run || true
	@deploy/dev/check test || true

stop: ## Stop the servers of `make run` and `make test`; their data stay in .dev
	@deploy/dev/down run
	@deploy/dev/down test

test: deps ## Run every test, beside a running `make run`
	@echo "== test: servers of their own, then every test"
	@deploy/dev/with test -- deploy/dev/test

fmt: ## Format the sources
	@echo "== fmt: cargo fmt"
	@cargo fmt --all

lint: ## Run clippy (warnings are errors), and shellcheck where installed
	@echo "== lint: clippy over all targets; the first time it checks every dependency (minutes)"
	@cargo clippy --workspace --exclude gateway --all-targets $(flags) -- -D warnings
	@cargo clippy -p gateway --all-targets --features bare --target-dir "$(gateway_dir)" $(flags) -- -D warnings
	@echo "== lint: shellcheck over deploy/dev"
	@if command -v shellcheck >/dev/null; then cd deploy/dev && shellcheck -s bash $(scripts); \
	  else echo "   shellcheck is not installed: the scripts of deploy/dev were not checked"; \
	  echo "the scripts of deploy/dev (no shellcheck)" >>"$${BASHU_CI_SKIPPED:-/dev/null}"; fi

bench: deps ## Measure one union under load, in a world of its own; ONLY=redeem,buy runs parts
	@deploy/dev/bench $(if $(ONLY),--only $(ONLY)) $(BENCH_FLAGS)

sim: deps ## Play seeded stories of a whole union and kill its sagas at every point (SIM_SEED, SIM_SEEDS)
	@echo "== sim: SIM_SEED=7 plays one seed, SIM_SEEDS=5000 as many; else 500, optimised"
	@$(if $(SIM_SEED),SIM_SEED=$(SIM_SEED),SIM_SEEDS=$(or $(SIM_SEEDS),500)) deploy/dev/with test -- \
	  cargo test --release -p tests --test sim $(flags) -- --nocapture $(if $(SIM_SEED),every_promise)

chaos: deps ## Kill, stop and cut everything under load, then compare (CHAOS_SEED, KILLS, ONLY=kill,link,…)
	@deploy/dev/chaos

fuzz: deps ## Try what reads bytes of strangers with any bytes, 30 s each (FUZZ_SECONDS; ONLY=jwt,cy1)
	@$(if $(ONLY),ONLY="$(ONLY)") $(if $(FUZZ_SECONDS),FUZZ_SECONDS="$(FUZZ_SECONDS)") deploy/dev/fuzz

schema: build ## Write the subgraphs' SDL and the supergraph into schema/
	@deploy/dev/schema write

schema-check: build
	@deploy/dev/schema check

tools:
	@deploy/dev/tools

deny: tools ## Check licences, sources and bans of dependencies (DENY_ADVISORIES=folder: advisories too)
	@echo "== deny: licences, bans and sources of every dependency"
	@PATH="$(cache)/tools/bin:$$PATH" deploy/dev/deny

ci: ## Everything a change must pass: format, lints, schema, tests, dependencies
	@deploy/dev/ci
