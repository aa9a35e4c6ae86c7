# The two commands that a newcomer needs are `make demo` and `make check`. CMake does the work.
BUILD := build
TARGETS := linux-4.19,linux-5.10,linux-6.1,linux-6.12,holdfast,here
THREAD_TARGETS := linux-4.19,linux-5.8,linux-5.10,linux-5.18,linux-6.1,linux-6.12,linux-6.18,holdfast,fail-pin,ro-pin-exempt,two-counters,ro-short-get,refuse-fork,wired-copy,copy-referenced,dont-fork
PREFIX ?= /usr/local

.PHONY: all deps demo check fuzz prove mutants bench bench-native matrix thread-table format install clean help

all: deps
	@cmake --preset release -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build $(BUILD)

deps:
	@scripts/install-deps

demo: all
	@$(BUILD)/holdfast run --on $(TARGETS) $$(cat scenarios/demo)

prove: all
	@scripts/prove $(BUILD)/holdfast

mutants: all
	@scripts/install-deps check
	@(sh tests/mutants.sh; sh tests/native_mutants.sh; sh tests/oracle_mutants.sh; BUILD=$(CURDIR)/$(BUILD) HOLDFAST=$(CURDIR)/$(BUILD)/holdfast \
		sh tests/machine_mutants.sh) | scripts/count-mutants
	@$(BUILD)/holdfast check --mutants --survivors --table docs/atomics.md scenarios/races scenarios/reports/pin-races-*.hf || [ $$? -eq 1 ]

check:
	@scripts/install-deps check
	@scripts/check release asan tsan

# SECONDS=N: of CPU time for each harness. HARNESS="ops parse": these only.
SECONDS := 60
fuzz:
	@scripts/install-deps check
	@scripts/fuzz $(SECONDS) $(HARNESS)

bench: all
	@$(BUILD)/bench/bench_core

# BENCH="--size 256M --runs 3": less, sooner. See bench/README.md.
bench-native: all
	@$(BUILD)/bench/bench-native --json $(BUILD)/bench/native.json --svg $(BUILD)/bench $(BENCH)

# The whole library on every kernel that can be had, next to the policies that have their rules.
matrix: all
	@scripts/install-deps check kernels
	-@$(BUILD)/holdfast kernels fetch
	@scripts/matrix $(BUILD)/holdfast docs/matrix.md $(BUILD)/matrix.html
	@echo 'docs/matrix.md and $(BUILD)/matrix.html are written'

# Writes the table of the seed thread's statements into docs/design.md.
thread-table: all
	@scripts/thread-table $(BUILD)/holdfast $(THREAD_TARGETS)

format:
	@scripts/install-deps check
	@clang-format -i $$(git ls-files '*.c' '*.h')

install: all
	@cmake --install $(BUILD)

clean:
	@rm -rf $(BUILD)

help:
	@echo 'make              build build/holdfast, the library and the tests'
	@echo 'make demo         build, then the table of telling scenarios'
	@echo 'make check        build and run all tests (plain, ASan+UBSan, TSan)'
	@echo 'make fuzz         libFuzzer on all harnesses, SECONDS=60 of CPU time each: counters, edges, inputs, findings'
	@echo 'make prove        every order and every short history, with counts (docs/proof.md)'
	@echo 'make mutants      take the guards away one at a time: all must be noticed'
	@echo 'make bench        single-thread figures of the engine'
	@echo 'make bench-native native spaces against fork(): table, build/bench/native.json, native-*.svg'
	@echo 'make matrix       the library on real kernels, under QEMU: docs/matrix.md, build/matrix.html'
	@echo 'make thread-table rewrite the table of docs/design.md'
	@echo 'make format       clang-format all sources'
	@echo 'make install      PREFIX=/usr/local'
	@echo 'make clean'
