# Every target needs Go, make and git only; `make test` also a C compiler, for the race detector. Tools and the local
# Kubernetes are built from Go modules at the versions that their go.mod pins.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Packages of the product by module, in workspace mode. deploy/local has a workspace of its own.
MODULES := proto chartcache chartcache/client operator/api operator services
PACKAGES := $(MODULES:%=./%/...)
# Modules outside the workspace.
TOOL_MODULES := .tools/arrows .tools/buf .tools/gen .tools/lint .tools/prometheus .tools/vuln deploy/local deploy/local/bin
# Packages whose tests need etcd and kube-apiserver.
CONTROL_PLANE_PACKAGES := ./operator/controller/... ./operator/helm/...

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
IMG ?= ketches/helm-operator
CHARTCACHE_IMG ?= $(dir $(IMG))chartcache
REVISION = $(shell git rev-parse HEAD 2>/dev/null)
BUILDINFO := github.com/ketches/helm-operator/services/internal/buildinfo
LDFLAGS = -s -w -X $(BUILDINFO).version=$(VERSION) -X $(BUILDINFO).revision=$(REVISION)

TOOLS := .tools/bin
LOCAL_BIN := deploy/local/.state/bin
export KUBEBUILDER_ASSETS := $(CURDIR)/$(LOCAL_BIN)
# Without cgo everywhere but under the race detector, so that linters, services and end-to-end tests share one build of
# the Kubernetes libraries.
export CGO_ENABLED := 0
# The linters vet.
GO_TEST := go test -vet=off -timeout 10m
GO_TEST_RACE := CGO_ENABLED=1 $(GO_TEST) -race

##@ General

.PHONY: help
help: ## Show this help.
	@awk 'BEGIN { FS = ":.*## "; printf "Usage: make \033[36m<target>\033[0m [IMG=...] [VERSION=...]\n" } \
		/^##@ / { printf "\n\033[1m%s\033[0m\n", substr($$0, 5) } \
		/^[a-z0-9-]+:.*## / { printf "  \033[36m%-20s\033[0m %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: ci
ci: ## What CI runs: check, build, test.
	@echo '== check'; $(MAKE) --no-print-directory check
	@echo '== build'; $(MAKE) --no-print-directory build kube prometheus build-tests
	@echo '== test'; $(MAKE) --no-print-directory test

##@ Develop

.PHONY: build
build: ## Build both services into bin/.
	go build -ldflags '$(LDFLAGS)' -o bin/ ./services/chartcache ./services/operator

.PHONY: run
run: build ## Run chartcache and the operator against the cluster of the current kubeconfig, until Ctrl-C.
	@.ci/run-services

.PHONY: fmt
fmt: $(TOOLS)/golangci-lint ## Format all Go code.
	$(TOOLS)/golangci-lint fmt $(PACKAGES)
	cd deploy/local && GOWORK=off ../../$(TOOLS)/golangci-lint fmt ./...

.PHONY: vet
vet: ## Run go vet.
	go vet $(PACKAGES)
	cd deploy/local && GOWORK=off go vet ./...

.PHONY: generate
generate: tools ## Regenerate the Go code of proto/ and of the CRD types.
	@.ci/generate code .

.PHONY: manifests
manifests: tools ## Regenerate deploy/crds and docs/api.md from operator/api.
	@.ci/generate crds .
	@.ci/generate docs .

.PHONY: tidy
tidy: ## Run go mod tidy in every module.
	@for module in $(MODULES) $(TOOL_MODULES); do echo "tidy $$module"; (cd $$module && GOWORK=off go mod tidy); done

##@ Verify

.PHONY: check
check: lint check-imports check-generated check-tidy ## Lint, and verify imports, generated code and go.mod files.

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/buf ## Run the linters.
	$(TOOLS)/buf lint
	$(TOOLS)/golangci-lint run $(PACKAGES)
	cd deploy/local && GOWORK=off ../../$(TOOLS)/golangci-lint run ./...

.PHONY: check-imports
check-imports: ## Verify that imports only go down the list of DESIGN: services, operator, chartcache, proto.
	@cd .tools/arrows && GOWORK=off go run . ../.. $(MODULES)

.PHONY: check-generated
check-generated: tools ## Verify that generated code is what `make generate manifests` would write.
	@.ci/check-generated

.PHONY: check-tidy
check-tidy: ## Verify that every go.mod is tidy.
	@untidy=; for module in $(MODULES) $(TOOL_MODULES); do \
		(cd $$module && GOWORK=off go mod tidy -diff) || untidy+=" $$module"; done; \
	if [ -n "$$untidy" ]; then echo "run 'make tidy': not tidy are$$untidy" >&2; exit 1; fi

.PHONY: vuln
vuln: $(TOOLS)/govulncheck ## Look for known vulnerabilities that the code reaches (needs the database on the internet).
	for module in $(MODULES) deploy/local; do (cd $$module && GOWORK=off $(CURDIR)/$(TOOLS)/govulncheck ./...); done

# With KUBE= the local Kubernetes is taken to be built.
KUBE := kube

.PHONY: test
test: $(KUBE) ## Run all tests.
	@$(MAKE) --no-print-directory KUBE= test-unit
	@$(MAKE) --no-print-directory KUBE= test-controllers
	@$(MAKE) --no-print-directory KUBE= test-e2e

.PHONY: test-unit
test-unit: ## Run the tests that need nothing but Go and a C compiler, with the race detector.
	@cd .tools/arrows && GOWORK=off $(GO_TEST) ./...
	@cd deploy/local && GOWORK=off $(GO_TEST_RACE) ./...
	@$(GO_TEST_RACE) $$(go list $(PACKAGES) | grep -vxFf <(go list $(CONTROL_PLANE_PACKAGES) ./services/e2e/...))

.PHONY: test-controllers
test-controllers: $(KUBE) ## Run the tests that need a real API server, with the race detector.
	@$(GO_TEST_RACE) $(CONTROL_PLANE_PACKAGES)

.PHONY: test-e2e
test-e2e: $(KUBE) $(TOOLS)/prometheus ## Run both services on the local control plane, end to end.
	@$(GO_TEST) -timeout 30m ./services/e2e/...

# Every story of services/e2e that something is survived, at many more points than `make test` tries.
POINTS ?= 30
SEED ?= 1

.PHONY: chaos
chaos: $(KUBE) ## Kill, stop and disturb the operator and what it talks to, and print what it survived; POINTS=n SEED=n. See docs/chaos.md.
	@table=$$(mktemp); status=0; \
	CHAOS_POINTS='$(POINTS)' CHAOS_SEED='$(SEED)' CHAOS_TABLE="$$table" \
		go test -vet=off -count 1 -timeout 3h -run '^TestSurvives' ./services/e2e || status=$$?; \
	cat "$$table"; rm -f "$$table"; exit $$status

.PHONY: bench-chartcache
bench-chartcache: $(KUBE) ## Measure chartcache beside what it replaces and print a table; REAL=folder adds real indexes. See docs/benchmarks.md.
	@go run ./services/bench -only '^(index|real|repositories|stack)$$' $(if $(REAL),-real '$(REAL)') $(BENCH_FLAGS)

.PHONY: bench-grpc
bench-grpc: ## Measure gRPC calls of chartcache beside a server that only echoes, and print a table. See docs/benchmarks.md.
	@go run ./services/bench -only '^grpc$$' $(BENCH_FLAGS)

.PHONY: bench-releases
bench-releases: $(KUBE) ## Measure a fleet of N releases (default 100) on the local control plane and print a table. See docs/benchmarks.md.
	@go run ./services/bench -only releases $(if $(N),-releases '$(N)') $(BENCH_FLAGS)

.PHONY: build-tests
build-tests: ## Compile all tests, so that running them takes no longer than they do.
	cd deploy/local && GOWORK=off $(GO_TEST_RACE) -c -o /dev/null ./...
	$(GO_TEST_RACE) -c -o /dev/null $(filter-out ./services/...,$(PACKAGES)) ./services/bench/... ./services/chartcache/... ./services/internal/... ./services/operator/...
	$(GO_TEST) -c -o /dev/null ./services/e2e

##@ Local stack

.PHONY: kube
kube: ## Build etcd, Kubernetes, KWOK, registry, kubectl and helm from Go modules; once, ten to twenty minutes on two cores.
	cd deploy/local && GOWORK=off go run . build

.PHONY: demo
demo: kube build ## Show the whole product at work on a local control plane; the exit code tells.
	@cd deploy/local && GOWORK=off go run . demo

.PHONY: up
up: kube build ## Start the local stack and leave it running.
	@cd deploy/local && GOWORK=off go run . up

.PHONY: down
down: ## Stop and remove what `make up` started.
	@cd deploy/local && GOWORK=off go run . down

.PHONY: clean
clean: down ## Remove everything that was built, Kubernetes included.
	rm -rf bin $(TOOLS) deploy/local/.state

##@ Cluster of the current kubeconfig

.PHONY: install
install: ## Install the CRDs.
	kubectl apply --server-side -f deploy/crds

.PHONY: uninstall
uninstall: ## Remove the CRDs and with them every HelmRepository and HelmRelease.
	kubectl delete --ignore-not-found -f deploy/crds

.PHONY: deploy
deploy: install ## Deploy both services into namespace ketches, with the images IMG and CHARTCACHE_IMG at VERSION.
	kubectl create namespace ketches --dry-run=client -o yaml | kubectl apply -f -
	sed -e 's|image: ketches/helm-operator:.*|image: $(IMG):$(VERSION)|' \
		-e 's|image: ketches/chartcache:.*|image: $(CHARTCACHE_IMG):$(VERSION)|' deploy/manifests.yaml | \
		kubectl apply --server-side -f -

.PHONY: undeploy
undeploy: ## Remove both services; objects and CRDs stay.
	kubectl delete --ignore-not-found -f deploy/manifests.yaml

.PHONY: docker-build-local
docker-build-local: ## Build both images for this machine, as IMG:VERSION and CHARTCACHE_IMG:VERSION.
	docker build -f Dockerfile.operator --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(IMG):$(VERSION) .
	docker build -f Dockerfile.chartcache --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) -t $(CHARTCACHE_IMG):$(VERSION) .

# Tools: each is rebuilt when its go.mod changes.

.PHONY: tools
tools: $(TOOLS)/buf $(TOOLS)/controller-gen

.PHONY: prometheus
prometheus: $(TOOLS)/prometheus ## Build the Prometheus of the end-to-end tests; once, four minutes on two cores.

$(TOOLS)/buf: .tools/buf/go.mod .tools/buf/go.sum
$(TOOLS)/controller-gen: .tools/gen/go.mod .tools/gen/go.sum
$(TOOLS)/golangci-lint: .tools/lint/go.mod .tools/lint/go.sum
$(TOOLS)/govulncheck: .tools/vuln/go.mod .tools/vuln/go.sum
# Static targets are all that the tests need; the clients of clouds are left out.
$(TOOLS)/prometheus: .tools/prometheus/go.mod .tools/prometheus/go.sum
$(TOOLS)/prometheus: TOOL_FLAGS := -tags remove_all_sd
$(TOOLS)/buf $(TOOLS)/controller-gen $(TOOLS)/golangci-lint $(TOOLS)/govulncheck $(TOOLS)/prometheus:
	@echo "building the tools of $(<D)"
	@mkdir -p $(TOOLS)
	@cd $(<D) && GOWORK=off go build $(TOOL_FLAGS) -ldflags '-s -w' -o $(CURDIR)/$(TOOLS)/ tool
	@touch $@
