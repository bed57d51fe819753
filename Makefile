# Everything a developer or CI runs. `make help` lists it.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS += -buildvcs=false
export GOFLAGS
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
MISSPELL = github.com/golangci/misspell/cmd/misspell@v0.8.0
HELM = helm.sh/helm/v3/cmd/helm@v3.22.0
KUSTOMIZE = sigs.k8s.io/kustomize/kustomize/v5@v5.8.2
NOT_MISSPELLED = administrativo,appareil,clas,corporativo,employeur,inventario,nowe,responsable,recrod,responsabile,strat

.DEFAULT_GOAL := help
.PHONY: help demo build check test cover fuzz bench scale chaos ha load lint fmt

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: build ## Detach several hundred desktops from a fake cloud, and watch
	@bin/detachd demo

build: ## Build the static binary, bin/detachd
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/detachd ./cmd/detachd

check: ## Do what CI does: run all tests without skipping any, and lint
	@.ci/run

test: ## Run all tests, or those that match TEST=pattern, of all packages or PKG=./worker; as root on Debian, first install what they need
	@.ci/test

cover: ## Run all tests and show in artifacts/cover.html which lines no test reaches
	@.ci/deps redis-server chromium-headless-shell
	@mkdir -p artifacts
	go test -timeout 20m -coverpkg=./... -coverprofile=artifacts/cover.out ./...
	@go tool cover -html=artifacts/cover.out -o artifacts/cover.html
	@go tool cover -func=artifacts/cover.out | tail -1

fuzz: ## Run each fuzz test, or those that match TEST=pattern, for FUZZTIME=30s
	@.ci/fuzz

bench: ## Measure detachd beside the baselines, in turns, on its own redis-server (about 9 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/bench -json bench.json

scale: ## Print the table of docs/scale.md, and the figures of a million desktops (about 17 minutes)
	@.ci/deps redis-server
	@mkdir -p artifacts
	@go run ./cmd/internal/bench -scale -json artifacts/scale.json

chaos: ## Kill and freeze workers, stop Redis 32 times, disturb the cloud, undo operations, count what must not happen (about 14 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/chaos

ha: ## Kill, freeze and cut off primaries of a Sentinel set and a Cluster while requests arrive, count what must not happen (about 7 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/ha

load: ## Submit 500 operations a second to a server, kill it, count what must not happen (about 2 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/load

# The tools are run by version: go.mod has what the code and its tests import, and
# nothing else. The words that the spell checker ignores are of other languages (columns
# of lists) or wrong on purpose. The tests of house check layout, words and line length.
lint: ## Check formatting, vet, go.mod, staticcheck, spelling, layout and words
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not formatted: run make fmt'; exit 1; }
	go vet ./...
	go mod tidy -diff
	go run $(STATICCHECK) ./...
	go run $(MISSPELL) -error -i $(NOT_MISSPELLED) *.md Makefile .ci .github apiclient cmd deploy docs tasks worker
	GOBIN=$(CURDIR)/bin GOFLAGS= CGO_ENABLED=0 go install $(HELM)
	@for values in deploy/helm/detachd/ci/*; do bin/helm lint --strict --quiet -f $$values deploy/helm/detachd || exit 1; done
	go test ./cmd/internal/house

fmt: ## Format the code and tidy go.mod
	gofmt -w .
	go mod tidy
