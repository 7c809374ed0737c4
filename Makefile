# Trireme. `make help` lists the targets.
SHELL   := /bin/bash
GO      ?= go
GOFLAGS += -p=2
VERSION ?= $(shell git describe --always --dirty 2>/dev/null || echo dev)
KUBE    := v1.37.2
LDFLAGS := -s -w -X trireme/internal/server.Version=$(VERSION) \
           -X k8s.io/component-base/version.gitVersion=$(KUBE)+trireme \
           -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37
ROOT    ?= /var/lib/trireme
# The bundle of containerd, runc and friends is part of the binary; packages that
# do not need it never rebuild because of it.
BUNDLE  := internal/bundle/assets/bundle.tar.zst

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: deps
deps: ## install what is missing from Debian's packages
	@hack/deps.sh

.PHONY: bundle
bundle: deps ## build containerd, its shim, runc, the CNI plugins and the images that the binary carries
	@hack/bundle.sh

.PHONY: build
build: bundle ## build bin/trireme: one file, all that a node needs
	@mkdir -p bin
	@CGO_ENABLED=0 $(GO) build $(GOFLAGS) -trimpath -ldflags '$(LDFLAGS)' -o bin/trireme ./cmd/trireme

.PHONY: up
up: build ## start a cluster on this machine and deploy the demo
	@hack/up.sh $(ROOT)

.PHONY: down
down: ## stop it and leave nothing behind (KEEP=1 keeps the state)
	@if [ -x bin/trireme ]; then bin/trireme down --root $(ROOT) $(if $(KEEP),--keep); else echo "nothing was built here: nothing to stop"; fi

.PHONY: test
test: build ## run all tests
	@hack/test.sh

.PHONY: bench
bench: build ## measure; JSON lines on stdout. BENCH='ready_s idle_rss_mb' runs some
	@$(GO) build $(GOFLAGS) -o bin/trireme-bench ./test/bench
	@bin/trireme-bench $(BENCH)

.PHONY: soak
soak: build ## kill -9 a writing store, and a whole manager, ROUNDS (200) times each: nothing acknowledged is lost; then as many faults on five machines
	TRIREME_CRASH_ROUNDS=$(or $(ROUNDS),200) $(GO) test $(GOFLAGS) -count=1 -timeout 30m -v -run TestCrash ./internal/etcdlog
	TRIREME_KILL_ROUNDS=$(or $(ROUNDS),200) $(GO) test $(GOFLAGS) -count=1 -timeout 60m -v -run TestKilledManager ./test
	TRIREME_CSI_SNAPSHOTS=1 $(GO) test $(GOFLAGS) -count=1 -timeout 20m -v -run 'TestCSI$$' ./test
	TRIREME_HOST_FAULTS=$(or $(ROUNDS),200) $(GO) test $(GOFLAGS) -count=1 -timeout 90m -v -run 'TestHosts$$' ./test

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@hack/fuzz.sh $(or $(FUZZTIME),30s)

.PHONY: conformance
conformance: ## run Kubernetes' own end-to-end suite (FOCUS, SKIP, ONLY, PROCS: see hack/conformance.sh)
	@hack/conformance.sh

.PHONY: lint
lint: ## what CI checks beside the tests
	@hack/lint.sh

.PHONY: fmt
fmt: ## format the tree
	$(GO) fmt ./...

.PHONY: generate
generate: ## regenerate everything that is generated
	$(GO) generate ./...
