# "make help" lists what can be made. Everything made lies in build/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

export CGO_ENABLED := 0
BIN      := build/bin
PKGS     ?= ./...
TESTARGS ?=
SUMARGS  ?=
FUZZTIME ?= 30s
# The packages with the goroutines that everything else stands on.
RACE     := ./internal/envelope/... ./internal/fault/... ./internal/journal/... ./internal/check/... ./internal/agent/... ./internal/api/... ./internal/notify/...

.PHONY: help
help: ## List what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install what the tests use beside Go (asks first; as root on Debian)
	@scripts/deps.sh

.PHONY: build
build: ## Build build/allclear, one static binary
	@go build -trimpath -ldflags '-s -w' -o build/allclear ./cmd/allclear

.PHONY: run
run: build ## Start the agent with a demonstration server and see a fault raised, mended and cleared
	@scripts/run.sh

.PHONY: run-backup-example
run-backup-example: build ## Back up /etc to a server of its own, prove it, restore a file
	@scripts/run.sh backup

.PHONY: test
test: deps tools ## Run all tests; says at the end what was skipped and how to run that too
	@go test -json -timeout 20m $(TESTARGS) $(PKGS) | $(BIN)/testsum $(SUMARGS)

.PHONY: race
race: tools ## Run the tests of the core under the race detector (needs gcc)
	@CGO_ENABLED=1 go test -race -json -timeout 20m $(TESTARGS) $(RACE) | $(BIN)/testsum $(SUMARGS)

.PHONY: check
check: tools ## Format, vet, lint, house rules, import map, generated files, go.mod
	@scripts/check.sh

.PHONY: mutate
mutate: ## Seed bugs into the fault core one at a time; each must make a test fail
	@scripts/mutate.sh

.PHONY: soak
soak: tools ## Run the long tests: crashes, power cuts, stalls (half an hour and more)
	@ALLCLEAR_SOAK=1 go test -json -count=1 -timeout 3h $(TESTARGS) $(PKGS) | $(BIN)/testsum $(SUMARGS)

.PHONY: fuzz
fuzz: ## Fuzz every parser of foreign bytes, FUZZTIME (30s) each
	@scripts/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: build ## Measure what docs/benchmarks.md claims, beside the real peers where they are installed
	@for b in bench/*/; do echo "== $$b"; if [ -e "$$b/go.mod" ]; then go -C "$$b" run .; else go run "./$$b"; fi; done
	@go test -run '^$$' -bench . -benchmem -timeout 1h $(TESTARGS) $(PKGS)

.PHONY: generate
generate: ## Write the generated files anew
	@go generate ./...

.PHONY: clean
clean: ## Remove build/
	@rm -rf build

# The tools are pinned in tools/go.mod and built once.
.PHONY: tools
tools: $(BIN)/.built
$(BIN)/.built: tools/go.mod tools/go.sum $(wildcard tools/*/*.go)
	@mkdir -p $(BIN)
	@go -C tools build -o ../$(BIN)/ mvdan.cc/gofumpt honnef.co/go/tools/cmd/staticcheck golang.org/x/perf/cmd/benchstat ./style ./testsum
	@touch $@
