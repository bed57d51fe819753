# Everything a developer or CI runs. `make help` lists it.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GOFLAGS += -buildvcs=false
export GOFLAGS
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

.DEFAULT_GOAL := help
.PHONY: help demo build check test cover fuzz bench chaos ha load lint fmt

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: ## Watch several hundred desktops being detached from a fake cloud
	@go run ./cmd/detachd demo

build: ## Build the static binary, bin/detachd
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/detachd ./cmd/detachd

check: ## Do what CI does: run all tests, skip none, and lint
	@.ci/run

test: ## Run all tests, or those that match TEST=pattern, of all packages or PKG=./worker; as root on Debian, install what they need first
	@.ci/test

cover: ## Run all tests and show in artifacts/cover.html what none of them reaches
	@.ci/deps redis-server chromium
	@mkdir -p artifacts
	go test -timeout 20m -coverpkg=./... -coverprofile=artifacts/cover.out ./...
	@go tool cover -html=artifacts/cover.out -o artifacts/cover.html
	@go tool cover -func=artifacts/cover.out | tail -1

fuzz: ## Run each fuzz test, or those that match TEST=pattern, for FUZZTIME=30s
	@.ci/fuzz

bench: ## Measure beside the baselines, on a redis-server of its own (about 2 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/bench -json bench.json

chaos: ## Kill and freeze workers, take Redis away 32 times, trouble the cloud, count what must not happen (about 12 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/chaos

ha: ## Kill, freeze and cut off primaries of a Sentinel set and a Cluster under posts, count what must not happen (about 7 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/ha

load: ## Hand over 500 operations a second to a server, kill it, count what must not happen (about 2 minutes)
	@.ci/deps redis-server
	@go run ./cmd/internal/load

# staticcheck is run by version: go.mod has what the code and its tests import, and
# nothing else.
lint: ## Check formatting, vet, go.mod and staticcheck
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'not formatted: run make fmt'; exit 1; }
	go vet ./...
	go mod tidy -diff
	go run $(STATICCHECK) ./...

fmt: ## Format the code and tidy go.mod
	gofmt -w .
	go mod tidy
