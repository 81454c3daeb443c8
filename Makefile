# Every chore has one entry here; `make help` lists them. What is more than a line lives in
# `xtask/`. Each target installs what it needs and can be run again at any time.

CARGO ?= cargo
# What `make dev` passes on, for instance ARGS="--agents 5 --http-addr 127.0.0.1:9000".
ARGS ?=
NODES ?= 500
WORKLOADS ?= 5000
SHARD ?= 0/40
FILE ?= core/src/**
SEEDS ?= 0..2000
# `long-search` takes longer to build and is faster: for many seeds.
PROFILE ?= simulation

# Cargo would look for the job server of `make -j`, which is not handed down to it.
unexport MAKEFLAGS MFLAGS

.DEFAULT_GOAL := help
.PHONY: help dev build test test-quick lint fmt tidy doc blackbox faults takeover scale bench search exhaust hunt mutants mutants-one determinism coverage deny

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

dev: ## build and start `berth dev`: a whole cluster on this machine
	@xtask/deps.sh build
	@$(CARGO) run -p berth-runtime --bin berth -- dev $(ARGS)

build: ## build the berth binary, optimised, into target/release
	@xtask/deps.sh build
	@$(CARGO) build --release -p berth-runtime --bin berth

test: ## every check and every test, with a real etcd and real processes
	@xtask/deps.sh test
	@$(CARGO) xtask test

test-quick: ## unit, property and documentation tests only
	@xtask/deps.sh test
	@$(CARGO) test --workspace --exclude berth-tests

blackbox: ## the black-box tests only; ARGS="capacity" selects by name
	@xtask/deps.sh test
	@$(CARGO) build -p berth-runtime --bin berth
	@$(CARGO) test -p berth-tests -- $(ARGS)

lint: ## formatting, clippy with warnings as errors, the project's own rules
	@xtask/deps.sh test
	@$(CARGO) xtask lint

fmt: ## format everything
	@$(CARGO) fmt --all

tidy: ## the project's own rules only
	@$(CARGO) xtask tidy

doc: ## the API documentation, warnings as errors
	@xtask/deps.sh build
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps

faults: ## break real processes from a seed and judge what is left; ARGS="--seed 7 --runs 10"
	@xtask/deps.sh test
	@$(CARGO) build -p berth-runtime --bin berth -p berth-faults --bin berth-faults
	@$(CARGO) run --quiet -p berth-faults -- run $(ARGS)

takeover: ## how long nobody acts when the leader dies; ARGS="--workloads 100000 --json FILE"
	@xtask/deps.sh test
	@$(CARGO) build --release -p berth-runtime --bin berth -p berth-faults --bin berth-faults
	@$(CARGO) run --release --quiet -p berth-faults -- takeover $(ARGS)

scale: ## the capacity run: NODES=500 WORKLOADS=5000 against a real etcd
	@xtask/deps.sh test
	@$(CARGO) build --release -p berth-runtime --bin berth -p berth-scale-tests --bin berth-scale
	@$(CARGO) run --release --quiet -p berth-scale-tests --bin berth-scale -- \
		--nodes $(NODES) --workloads $(WORKLOADS) $(ARGS)

bench: ## the criterion benchmarks
	@xtask/deps.sh build
	@$(CARGO) bench -p berth-benches

search: ## run many seeds of the simulator: SEEDS=0..100000 PROFILE=long-search
	@xtask/deps.sh build
	@$(CARGO) run --profile $(PROFILE) --quiet -p berth-simcmd -- search --seeds $(SEEDS) $(ARGS)

exhaust: ## run every single fault at every point of every short scenario
	@xtask/deps.sh build
	@$(CARGO) run --profile $(PROFILE) --quiet -p berth-simcmd -- exhaust $(ARGS)

hunt: ## plant bugs in the product, and see whether the simulator finds them; ARGS="--bug tie-break"
	@xtask/deps.sh build
	@$(CARGO) run --profile $(PROFILE) --quiet -p berth-simcmd --features planted -- hunt $(ARGS)

mutants: ## change the core in every place, in one build, and see which change no test notices (installs cargo-mutants)
	@xtask/deps.sh build
	@$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-mutants
	@$(CARGO) run --quiet -p berth-mutants -- $(ARGS)

mutants-one: ## the same by cargo-mutants itself, each compiled anew: SHARD=0/40, or FILE=core/src/retry.rs RE='retry.rs:55:9'
	@xtask/deps.sh build
	@$(CARGO) mutants --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-mutants
	@$(CARGO) mutants --package berth-core $(if $(RE),--file '$(FILE)' --re '$(RE)',--shard $(SHARD) --sharding round-robin) --output target $(ARGS)

determinism: ## the core's outputs and the simulator's traces are equal in debug and optimised, on 1 and 2 threads
	@xtask/deps.sh build
	@$(CARGO) xtask determinism

coverage: ## line coverage of the pure crates by their own tests
	@xtask/deps.sh coverage
	@$(CARGO) xtask coverage

deny: ## licences, sources and bans of the dependencies (installs cargo-deny)
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	@$(CARGO) deny check bans licenses sources
