# Septum's doors for people and machines. `make help` lists them.
# One cargo profile (release) serves run, test and bench, so that everything is compiled once; what is compiled
# lies outside the clone, in ~/.cache/septum (see .ci/environment).

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:
.NOTPARALLEL:

ENVIRONMENT := . .ci/environment &&

CYCLES ?= 50
CUTS ?= 5
SECONDS ?= 60

.PHONY: help
help: ## Show this list
	@echo "Septum: a self-hosted DICOM archive. Targets:"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)$$/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-24s %s\n", $$1, $$2 }'

.PHONY: run
run: binary ## Build and start on https://localhost:8443 (DEMO=1 also loads synthetic studies)
	@mkdir -p data && chmod 700 data
	@$(ENVIRONMENT) if [ -n "$(DEMO)" ]; then SEPTUM_DEMO=1; export SEPTUM_DEMO; fi; \
	if [ -z "$${SEPTUM__VIEWER__DIST_DIR:-}" ] && viewer=$$(.ci/viewer/install); then \
		SEPTUM__VIEWER__DIST_DIR=$$viewer; export SEPTUM__VIEWER__DIST_DIR; fi; \
	exec "$$SEPTUM_BINARY" serve

.PHONY: binary
binary: ## Build the server without starting it
	@.ci/install build
	@$(ENVIRONMENT) septum_rocksdb && cargo build --release --locked -p septum-api --bin septum

.PHONY: test
test: ## Everything CI runs: format, clippy, wasm, tidy, tests, real clients, 5 kill cycles
	@.ci/install build test peer
	@.ci/test

.PHONY: test-large
test-large: binary ## Stream objects larger than memory through the server (6 to 24 GiB, some minutes)
	@.ci/install build test
	@$(ENVIRONMENT) python=$$(septum_venv) && SEPTUM_LARGE=1 "$$python" -m pytest -q -s .ci/clients/test_large.py

.PHONY: crash
crash: ## kill -9 under load (CYCLES=50) and power cuts (CUTS=5, needs root)
	@.ci/install build test
	@$(ENVIRONMENT) septum_rocksdb && cargo build --release --locked -p septum-api --bin septum
	@$(ENVIRONMENT) python=$$(septum_venv) && "$$python" .ci/crash/kill.py --cycles $(CYCLES)
	@$(ENVIRONMENT) python=$$(septum_venv) && "$$python" .ci/crash/power_cut.py --cuts $(CUTS)
	@echo "and now without the syncs of one root, which must be noticed:"
	@$(ENVIRONMENT) python=$$(septum_venv) && "$$python" .ci/crash/power_cut.py --cuts 1 --drop-sync phi
	@$(ENVIRONMENT) python=$$(septum_venv) && "$$python" .ci/crash/power_cut.py --cuts 1 --drop-sync pixel

.PHONY: load
load: ## Figures over the wire (PEER=orthanc: beside Orthanc; TLS=1, AES=1, QUICK=1, ROUNDS, CLIENTS, COUNT, SCENARIOS=a,b)
	@.ci/install build test $(if $(PEER),peer)
	@$(ENVIRONMENT) septum_rocksdb && cargo build --release --locked -p septum-api -p septum-loadtest --bins
	@$(ENVIRONMENT) python=$$(septum_venv) && "$$python" .ci/load.py $(if $(PEER),--peer $(PEER)) $(if $(TLS),--tls) $(if $(AES),--aes) \
		$(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(CLIENTS),--clients $(CLIENTS)) \
		$(if $(COUNT),--count $(COUNT)) $(if $(SCENARIOS),--scenarios $(SCENARIOS))

.PHONY: bench
bench: ## Benchmarks of codecs, parser, sealing and storage
	@.ci/install build
	@$(ENVIRONMENT) septum_rocksdb && cargo bench --locked --profile release -p septum-benches

.PHONY: fuzz
fuzz: binary ## Every parser under a fuzzer, then a mutated corpus against the server (SECONDS=60)
	@.ci/install build test
	@$(ENVIRONMENT) FUZZ_SECONDS=$(SECONDS) engine/core/fuzz/run
	@$(ENVIRONMENT) python=$$(septum_venv) && SEPTUM_FUZZ_SECONDS=$(SECONDS) "$$python" -m pytest -q -s .ci/clients/test_bad_input.py -k mutation

.PHONY: format
format: ## Format all Rust code
	@cargo fmt --all -- --config-path .rustfmt.toml

.PHONY: clean
clean: ## Remove what was compiled for Septum, but not RocksDB
	@$(ENVIRONMENT) rm -rf "$$CARGO_TARGET_DIR"
