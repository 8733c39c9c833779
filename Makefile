# `make help` lists what there is. Needs Rust, Node (>= 20.19) and, for real clients, Go (>= 1.26.8); other things are installed where they are missing.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BUILD := $(or $(CARGO_TARGET_DIR),target)
VENV := $(BUILD)/venv
VENV_AGENTS := $(BUILD)/venv-agents
DENY_VERSION := 0.20.2
DENY := $(BUILD)/tools/cargo-deny-$(DENY_VERSION)/bin/cargo-deny
FUZZ_VERSION := 0.13.2
FUZZ := $(BUILD)/tools/cargo-fuzz-$(FUZZ_VERSION)/bin/cargo-fuzz
FUZZED := $(or $(TARGET),rtp)
GO_CLIENT := $(BUILD)/go/participant
# Where Debian has protobuf's own .proto files.
PROTOBUF := /usr/include
# The header of libsrtp, which comes with what is linked; tests of `interop` are the only ones that need it.
LIBSRTP := /usr/include/srtp2/srtp.h
# The server, the tools and the examples, with the features that `cargo test --workspace` has built all libraries with.
BUILD_PROGRAMS := cargo build --workspace --bins --examples

WEB_SOURCES := $(shell find web-client -path web-client/node_modules -prune -o -path web-client/dist -prune -o -type f -print)

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

.PHONY: run
run: compiler web ## The server in development mode, at http://localhost:7880 (BIND=ADDRESS to listen elsewhere)
	cargo run -p server -- serve --dev $(if $(BIND),--bind $(BIND))

.PHONY: test
test: ## Everything: crates, web client, and real clients in real meetings
	@mkdir -p $(BUILD); SECONDS=0; \
	$(MAKE) clients >$(BUILD)/clients.log 2>&1 & fetching=$$!; \
	trap 'kill $$fetching 2>/dev/null || true' EXIT; \
	$(MAKE) test-rust; rust=$$SECONDS; \
	$(MAKE) test-web; web=$$((SECONDS - rust)); \
	wait $$fetching || true; \
	$(MAKE) test-clients; clients=$$((SECONDS - rust - web)); \
	echo "make test: all passed (crates $$rust s, web client $$web s, real clients $$clients s)"

.PHONY: test-rust
test-rust: compiler web ## The crates
	@[ -e $(LIBSRTP) ] || .ci/apt libsrtp2-dev:libsrtp2-dev
	cargo test --workspace

.PHONY: test-web
test-web: web-client/node_modules/.ready ## The web client's own tests
	cd web-client && npm test

.PHONY: test-clients
test-clients: compiler web clients ## Chromium, Firefox, the native SDK, the Go SDK and agents in real meetings
	$(BUILD_PROGRAMS)
	cd tests && npm test

.PHONY: test-long
test-long: compiler web browsers tests/node_modules/.ready $(VENV)/.ready $(GO_CLIENT) ## What takes longer than a build should: slow networks, crowds, thousands of simulated meetings. It needs a machine with breath to spare
	$(MAKE) sim SEEDS=2000
	$(BUILD_PROGRAMS)
	cd tests && npm run test-long

.PHONY: screens
screens: compiler web browsers tests/node_modules/.ready ## Pictures of each screen of the web client to look at, in target/screens (index.html there shows them all)
	$(BUILD_PROGRAMS)
	cd tests && npm run screens

.PHONY: sim
sim: compiler ## A sweep of simulated meetings: SEEDS=2000 of them, from FIRST=0; SEED=n shows one
	cargo run --quiet -p sim -- $(or $(SEEDS),2000) $(or $(FIRST),0)

.PHONY: fuzz
fuzz: compiler $(FUZZ) ## Strangers' bytes without end: TARGET=rtp (they are in fuzz/src/lib.rs), for SECONDS=60; needs a nightly compiler
	@cp Cargo.lock fuzz/libfuzzer/
	@mkdir -p $(BUILD)/fuzz/corpus/$(FUZZED)
	cd fuzz/libfuzzer && RUSTUP_TOOLCHAIN=nightly CARGO_TARGET_DIR=$(abspath $(BUILD))/fuzz $(abspath $(FUZZ)) run --fuzz-dir . $(FUZZED) \
		$(abspath $(BUILD))/fuzz/corpus/$(FUZZED) ../seeds/$(FUZZED) -- -max_total_time=$(or $(SECONDS),60) -timeout=10 -rss_limit_mb=2048

.PHONY: check
check: compiler web-client/node_modules/.ready $(DENY) ## Formatting, lints, types, licences, and the invariants of ARCHITECTURE.md
	cargo fmt --all --check
	cargo xtask check
	$(DENY) --log-level error check licenses bans sources
	cd web-client && npm run lint && npm run typecheck
	cargo clippy --workspace --all-targets -- -D warnings
	@echo "make check: no complaint"

.PHONY: advisories
advisories: $(DENY) ## Known vulnerabilities among the dependencies (asks the network)
	$(DENY) check advisories
	cd web-client && npm audit --omit=dev

.PHONY: bench
bench: compiler web ## CPU and memory per forwarded packet, and times to the first picture
	@.ci/apt valgrind:valgrind
	cargo xtask bench

.PHONY: descriptors
descriptors: ## What messages of the server API have in them, anew: when a test says so, after an update of livekit-protocol
	@.ci/apt protoc:protobuf-compiler
	@[ -e $(PROTOBUF)/google/protobuf/descriptor.proto ] || .ci/apt libprotobuf-dev:libprotobuf-dev
	protos="$$(cargo metadata --format-version 1 --locked \
		| grep -o '"manifest_path":"[^"]*/livekit-protocol-[^"]*/Cargo.toml"' | cut -d'"' -f4 | xargs dirname)/protocol/protobufs"; \
	protoc -I "$$protos" -I $(PROTOBUF) --include_imports -o protocol/src/json/livekit.binpb \
		livekit_room.proto livekit_agent_dispatch.proto livekit_sip.proto

.PHONY: web
web: web-client/dist/index.html ## The web client, built

# ---- what the above need ----

.PHONY: compiler
compiler:
	@.ci/apt cc:build-essential

# Fetched beside other work where there is any: it waits for the network most of the time.
.PHONY: clients
clients: browsers tests/node_modules/.ready $(VENV)/.ready $(VENV_AGENTS)/.ready $(GO_CLIENT)

.PHONY: browsers
browsers:
	@.ci/apt chromium:chromium firefox-esr:firefox-esr ip:iproute2 unshare:util-linux

web-client/node_modules/.ready: web-client/package-lock.json
	cd web-client && npm ci --no-audit --no-fund
	@touch $@

web-client/dist/index.html: web-client/node_modules/.ready $(WEB_SOURCES)
	cd web-client && npm run build
	@touch $@

tests/node_modules/.ready: tests/package-lock.json
	cd tests && npm ci --no-audit --no-fund
	@touch $@

$(VENV)/.ready: tests/requirements.txt
	@.ci/apt python3:python3 python3:python3-venv
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

$(VENV_AGENTS)/.ready: tests/requirements-agents.txt
	@.ci/apt python3:python3 python3:python3-venv
	python3 -m venv $(VENV_AGENTS)
	$(VENV_AGENTS)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements-agents.txt
	@touch $@

$(GO_CLIENT): $(wildcard tests/go/*.go) tests/go/go.mod tests/go/go.sum
	@.ci/go tests/go
	cd tests/go && go build -o $(abspath $@) .

# Built for use, not for speed: a minute and a half instead of six.
$(DENY):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
		CARGO_TARGET_DIR=$(BUILD)/tools/build \
		cargo install cargo-deny --version $(DENY_VERSION) --locked --root $(BUILD)/tools/cargo-deny-$(DENY_VERSION)
	rm -rf $(BUILD)/tools/build

$(FUZZ):
	RUSTUP_TOOLCHAIN=nightly CARGO_TARGET_DIR=$(BUILD)/tools/build \
		cargo install cargo-fuzz --version $(FUZZ_VERSION) --locked --root $(BUILD)/tools/cargo-fuzz-$(FUZZ_VERSION)
	rm -rf $(BUILD)/tools/build
