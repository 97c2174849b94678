# pingora-proxy. `make` alone lists the targets; CONTRIBUTING.md says which ones a change needs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# What is built stays in bin/, which git ignores. What is only a cache stays outside the checkout.
BINARY  := bin/pingora-proxy
ROOTFS  ?= bin/rootfs
CACHE   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pingora-proxy
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= pingora-proxy:$(VERSION)

# GO_LDFLAGS strips the symbol table and keeps what pprof and stack traces need.
GO_LDFLAGS := -s -w -X main.version=$(VERSION)
CONFIG     ?= config/default.yaml
FUZZTIME   ?= 20s
BENCH_FLAGS ?=
# TEST_FLAGS are added to every `go test`, e.g. make test TEST_FLAGS='-run TestDrain -v'
TEST_FLAGS ?=
LINT_FLAGS ?=

# golangci-lint keeps its results here, beside the tools themselves.
export GOLANGCI_LINT_CACHE := $(CACHE)/golangci-lint

.PHONY: help
help: ## Print this list
	@echo 'pingora-proxy: a reverse proxy, one binary and one YAML file'
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z-]*:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

.PHONY: build
build: ## Build the static binary into bin/
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(GO_LDFLAGS)' -o $(BINARY) ./cmd/pingora-proxy

.PHONY: run
run: build ## Serve config/default.yaml with two demo upstreams; Ctrl-C stops everything
	@BINARY=$(BINARY) CONFIG=$(CONFIG) hack/run.sh

.PHONY: dev
dev: ## Like run, but rebuild and restart when a Go file or a file of config/ changes
	@BINARY=$(BINARY) CONFIG=$(CONFIG) hack/dev.sh

##@ Develop

.PHONY: generate
generate: ## Write what is generated from the types: the field reference and the JSON Schema in docs/
	go generate ./api/...

.PHONY: lint
lint: ## Check style, mistakes and the arrows between packages (LINT_FLAGS=--fix mends what it can)
	@linter=$$(hack/tool.sh golangci-lint); \
	echo "golangci-lint run $(LINT_FLAGS)"; \
	"$$linter" run --allow-parallel-runners $(LINT_FLAGS) ./...

.PHONY: verify
verify: ## Check that generated files, modules, format and wording are in order
	@hack/verify.sh

.PHONY: clean
clean: ## Remove bin/ (the caches outside the checkout stay)
	rm -rf bin

##@ Test

.PHONY: test
test: ## Run every test with the race detector: unit, architecture, integration
	CGO_ENABLED=1 go test -race -shuffle=on -p 2 -timeout 20m $(TEST_FLAGS) ./...

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go
	go test -shuffle=on -timeout 10m $(TEST_FLAGS) $$(go list ./... | grep -v '/test/')

.PHONY: test-integration
test-integration: ## Run the tests with real sockets and real peers (nginx, HAProxy)
	CGO_ENABLED=1 go test -race -shuffle=on -timeout 20m $(TEST_FLAGS) ./test/...

.PHONY: cover
cover: ## Measure what the tests cover, as HTML in bin/cover.html
	@mkdir -p bin
	go test -shuffle=on -timeout 20m -covermode=atomic -coverpkg=./... -coverprofile=bin/cover.out $(TEST_FLAGS) ./...
	go tool cover -html=bin/cover.out -o bin/cover.html
	@go tool cover -func=bin/cover.out | tail -n 1
	@echo "open bin/cover.html"

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (20s) each
	@FUZZTIME=$(FUZZTIME) hack/fuzz.sh

.PHONY: bench
bench: build ## Measure against nginx and HAProxy, write docs/benchmarks.md (flags in BENCH_FLAGS)
	go run ./test/benchmarks/cmd/bench $(BENCH_FLAGS)

##@ Ship

.PHONY: image-rootfs
image-rootfs: build ## Assemble the image's root file system in bin/rootfs (ROOTFS moves it)
	@hack/rootfs.sh $(BINARY) '$(ROOTFS)'

.PHONY: docker-build
docker-build: ## Build the container image; the same root file system, through Docker
	docker build --build-arg VERSION='$(VERSION)' -t '$(IMAGE)' .
