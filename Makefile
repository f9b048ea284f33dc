# What people and CI call. `make test` is all that must hold; it needs a Rust toolchain and Python 3, and says aloud what
# it leaves out for want of Node.js, a C++ compiler, CMake, libclang or cargo-deny.

CARGO ?= cargo

.PHONY: run test check format clippy unit doc deny e2e bench instructions results docs

run:
	$(CARGO) run --release

test: check unit e2e

check: format clippy doc deny

format:
	$(CARGO) fmt --all --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked

# Advisories need the network, so that CI asks for them by itself: `cargo deny check`.
deny:
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --offline check bans licenses sources; \
	else echo "SKIPPED deny: there is no cargo-deny (cargo install cargo-deny)"; fi

unit:
	$(CARGO) test --workspace --locked
	$(CARGO) test --locked --package plimsoll-routing --features shuttle --test interleavings

# Real clients and real engines around the real binary: the OpenAI SDKs, grpcio, buf, and llama.cpp built from source
# (once).
e2e:
	$(CARGO) build --locked
	bash tests/e2e/prepare.sh
	python3 tests/e2e/run.py --gateway-bin "$${CARGO_TARGET_DIR:-target}/debug/plimsoll"

bench:
	$(CARGO) bench --workspace --locked

# What noise cannot hide: the instructions of hot paths, against those of benches/instructions.csv. Needs valgrind.
instructions:
	python3 benches/instructions.py

# Runs all benches and writes benches/RESULTS.md; `make results SECTIONS=life` a part of it. PLIMSOLL_TRACES names a folder
# of traces, and `python3 benches/overhead.py --install` fetches other proxies to stand beside.
results:
	$(CARGO) build --release --locked -p plimsoll
	$(CARGO) build --release --locked -p plimsoll-benches --bins
	python3 benches/results.py $(SECTIONS)

# Writes the references that are made from the code.
docs:
	$(CARGO) run --quiet -- reference config > docs/config.md
	$(CARGO) run --quiet -- reference metrics > docs/metrics.md
	$(CARGO) run --quiet -- reference scenarios > docs/scenarios.md
