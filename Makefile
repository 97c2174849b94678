# pingora-proxy. `make` alone lists the targets; CONTRIBUTING.md says which ones a change needs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# What is built stays in bin/, which git ignores. What is only a cache stays outside the checkout.
BINARY  := bin/pingora-proxy
ROOTFS  ?= bin/rootfs
CACHE   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pingora-proxy
# Asked once: what is built, loaded and deployed by one make is one version.
VERSION := $(or $(VERSION),$(shell git describe --tags --always --dirty 2>/dev/null || echo dev))
IMAGE   ?= pingora-proxy:$(VERSION)

# The linter, vet and the program compile in one way, so that what they need of others is compiled once. The race detector needs cgo.
export CGO_ENABLED ?= 0
export GOFLAGS     := $(strip $(GOFLAGS) -trimpath)

# Put before what compiles: compilers and linkers collect garbage only where they would need more than this, each of
# them, of which there is one for each processor. It saves an eighth of their time. What is then run, a test, is started without it.
COMPILE := GOGC=off GOMEMLIMIT=2GiB
AS_EVER := env -u GOGC -u GOMEMLIMIT

# GO_LDFLAGS strips the symbol table and keeps what pprof and stack traces need.
GO_LDFLAGS := -s -w -X main.version=$(VERSION)
CONFIG     ?= config/default.yaml
FUZZTIME   ?= 20s
BENCH_FLAGS ?=
# TEST_FLAGS are added to every `go test`, e.g. make test TEST_FLAGS='-run TestDrain -v'
TEST_FLAGS ?=
LINT_FLAGS ?=
# Which cases make soak runs (a regular expression of their names, e.g. CASES='reloads|kill'), and how much of each.
CASES      ?= .*
SOAK_SCALE ?=

# The cases of test/reliability whose data plane runs inside the test.
INSIDE     := names|dns

# The cluster of kind-up, kind-load, deploy and e2e. E2E_KUBECONFIG names one that exists, E2E_EXEC_PREFIX is put before what talks to
# it (hack/cluster.sh says more).
KIND_CLUSTER ?= pingora-proxy
export KIND_CLUSTER

# golangci-lint keeps its results here, beside the tools themselves.
export GOLANGCI_LINT_CACHE := $(CACHE)/golangci-lint

.PHONY: help
help: ## Print this list
	@echo 'pingora-proxy: a reverse proxy, one binary and one YAML file'
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z0-9-]*:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

.PHONY: build
build: ## Build the static binary into bin/
	CGO_ENABLED=0 $(COMPILE) go build -buildvcs=false -ldflags '$(GO_LDFLAGS)' -o $(BINARY) ./cmd/pingora-proxy

.PHONY: run
run: build ## Serve config/default.yaml with two demo upstreams; Ctrl-C stops everything
	@BINARY=$(BINARY) CONFIG=$(CONFIG) hack/run.sh

.PHONY: dev
dev: ## Like run, but rebuild and restart when a Go file or a file of config/ changes
	@BINARY=$(BINARY) CONFIG=$(CONFIG) hack/dev.sh

##@ Develop

.PHONY: generate
generate: ## Write what is generated: deep copies, the field reference and the JSON Schema in docs/, the README of the chart
	"$$(hack/tool.sh controller-gen)" object paths=./api/v1alpha1 paths=./api/settings
	go generate ./api/... ./charts/...

.PHONY: manifests
manifests: ## Write the CRD (config/crd and the chart's copy) and the RBAC roles (config/rbac) from the markers in Go files
	"$$(hack/tool.sh controller-gen)" crd paths=./api/v1alpha1 output:crd:dir=config/crd/bases
	"$$(hack/tool.sh controller-gen)" rbac:roleName=proxy paths=./controllers output:rbac:dir=config/rbac
	@mkdir -p charts/pingora-proxy/files
	cp config/crd/bases/pingora-proxy.dev_proxyservices.yaml charts/pingora-proxy/files/proxyservices.yaml
	cp config/monitoring/dashboard.json config/monitoring/alerts.yaml charts/pingora-proxy/files/

.PHONY: lint
lint: ## Check style, mistakes and the arrows between packages (LINT_FLAGS=--fix mends what it can)
	@linter=$$(hack/tool.sh golangci-lint); \
	echo "golangci-lint run $(LINT_FLAGS)"; \
	"$$linter" run --allow-parallel-runners $(LINT_FLAGS) ./...

.PHONY: verify
verify: ## Check what is generated, modules, format, wording, the unit; gosec, gitleaks, govulncheck (VULNDB: its database)
	@hack/verify.sh

.PHONY: clean
clean: ## Remove bin/ (the caches outside the checkout stay)
	rm -rf bin

##@ Test

.PHONY: test
test: ## Run every test with the race detector: unit, architecture, integration, a real API server
	CGO_ENABLED=1 $(COMPILE) hack/test-env.sh go test -exec '$(AS_EVER)' -race -shuffle=on -p 2 -timeout 20m $(TEST_FLAGS) $$(go list ./... | grep -v '/test/reliability$$')
	@# What cannot run with it, such as counts of allocations.
	$(COMPILE) go test -exec '$(AS_EVER)' -shuffle=on -timeout 20m $(TEST_FLAGS) $$(grep -rl --include='*_test.go' '^//go:build !race$$' . | xargs -n 1 dirname | sort -u)
	@# Storms and floods have the machine for themselves: others would wait for it until their patience ends. Where the program is a
	@# process of its own it alone has the race detector, which clients and origins would pay for with most of the time.
	CGO_ENABLED=1 $(COMPILE) hack/test-env.sh go test -exec '$(AS_EVER)' -race -shuffle=on -timeout 20m -run '/^($(INSIDE))$$' $(TEST_FLAGS) ./test/reliability
	CGO_ENABLED=1 RACE=1 $(COMPILE) hack/test-env.sh go test -exec '$(AS_EVER)' -shuffle=on -timeout 20m -skip '/^($(INSIDE))$$' $(TEST_FLAGS) ./test/reliability

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go
	go test -shuffle=on -timeout 10m $(TEST_FLAGS) \
		$$(go list -f '{{.TestImports}} {{.XTestImports}} {{.ImportPath}}' ./... | grep -vE '/test/kube\b|/test/[^ ]*$$' | sed 's/.* //')

.PHONY: test-integration
test-integration: ## Run the tests with real sockets and real peers (nginx, HAProxy, an API server)
	CGO_ENABLED=1 hack/test-env.sh go test -race -shuffle=on -timeout 20m $(TEST_FLAGS) ./controllers/... ./test/...

.PHONY: page
page: ## Try the status page in a Chromium (CHROMIUM says where it is), and draw docs/status-page.png anew
	PAGE=1 PAGE_SCREENSHOT='$(CURDIR)/docs/status-page.png' go test -count=1 -timeout 5m $(TEST_FLAGS) ./test/page

.PHONY: cover
cover: ## Measure what the tests cover, as HTML in bin/cover.html
	@mkdir -p bin
	hack/test-env.sh go test -shuffle=on -timeout 20m -covermode=atomic -coverpkg=./... -coverprofile=bin/cover.out $(TEST_FLAGS) ./...
	go tool cover -html=bin/cover.out -o bin/cover.html
	@go tool cover -func=bin/cover.out | tail -n 1
	@echo "open bin/cover.html"

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (20s) each
	@FUZZTIME=$(FUZZTIME) hack/fuzz.sh

.PHONY: bench
bench: build ## Measure against nginx, HAProxy and a bare relay, write docs/benchmarks.md (flags in BENCH_FLAGS)
	go run ./test/benchmarks/cmd/bench $(BENCH_FLAGS)

.PHONY: overload
overload: build ## Offer the proxy three times what its origin can serve, and print what becomes of it
	go run ./test/benchmarks/cmd/overload $(BINARY)

.PHONY: soak
soak: ## Reload, break, starve and load the proxy for long, count what is lost (docs/reliability.md; CASES=reloads for one)
	SOAK=1 SOAK_SCALE='$(SOAK_SCALE)' go test ./test/reliability -count=1 -v -timeout 120m -run 'TestCases/^($(CASES))$$' $(TEST_FLAGS)

.PHONY: scale
scale: ## Measure 1,000 ProxyServices and 5,000 pods, write the figures into docs/benchmarks.md
	kwok=$$(hack/tool.sh kwok); \
	SCALE=1 KWOK="$$kwok" hack/test-env.sh go test ./test/scale -count=1 -v -timeout 60m $(TEST_FLAGS)

.PHONY: scale-files
scale-files: build ## Measure 1,000 and 10,000 services from files and as objects, write the figures into docs/benchmarks.md
	go run ./test/benchmarks/controlside/cmd -bin $(BINARY) $(BENCH_FLAGS)

.PHONY: e2e
e2e: kind-up kind-load ## Try everything that a cluster does to a proxy on a real one, count what is lost (docs/reliability.md)
	hack/cluster.sh kubeconfig '$(CURDIR)/bin/e2e/kubeconfig'
	E2E=1 E2E_KUBECONFIG='$(CURDIR)/bin/e2e/kubeconfig' E2E_IMAGE='$(IMAGE)' \
		hack/test-env.sh go test $(if $(E2E_EXEC_PREFIX),-exec '$(E2E_EXEC_PREFIX)') ./test/e2e -count=1 -v -timeout 60m $(TEST_FLAGS)

##@ Kubernetes

.PHONY: kind-up
kind-up: ## Make a kind cluster of three nodes (or check the one that E2E_KUBECONFIG names)
	@hack/cluster.sh up

.PHONY: kind-load
kind-load: image-rootfs ## Build the image without a base image, load it into the cluster as IMAGE and as pingora-proxy:dev
	@hack/image.sh '$(ROOTFS)' '$(IMAGE)' pingora-proxy:dev
	@hack/cluster.sh load '$(IMAGE)' pingora-proxy:dev

.PHONY: deploy
deploy: ## Install config/default with IMAGE on the cluster, wait until it is ready
	@hack/deploy.sh '$(IMAGE)' '$(BINARY)'

.PHONY: kind-down
kind-down: ## Remove the cluster of kind-up
	@hack/cluster.sh down

.PHONY: helm-lint
helm-lint: ## Check the Helm chart
	"$$(hack/tool.sh helm)" lint --strict charts/pingora-proxy

##@ Ship

.PHONY: image-rootfs
image-rootfs: build ## Assemble the image's root file system in bin/rootfs (ROOTFS moves it)
	@hack/rootfs.sh $(BINARY) '$(ROOTFS)'

.PHONY: docker-build
docker-build: ## Build the container image; the same root file system, through Docker
	docker build --build-arg VERSION='$(VERSION)' -t '$(IMAGE)' .
