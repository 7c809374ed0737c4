#!/bin/bash
# Runs every test: the lint, the packages, then the tests of the built binary on
# real containers (test/). Prints go test's own lines.
set -euo pipefail
cd "$(dirname "$0")/.."
# As make build has compiled them: nothing is compiled twice.
export CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -trimpath"
hack/deps.sh test
hack/lint.sh
# The lint has vetted the tests; nobody debugs these binaries.
flags=(-vet=off '-ldflags=-s -w')
echo "== packages"
go test "${flags[@]}" -p 2 -timeout 15m ./cmd/... ./examples/... ./hack/... ./images/... ./internal/...
echo "== race"
CGO_ENABLED=1 go test "${flags[@]}" -p 2 -race -timeout 15m ./internal/{kind,store,loop,rollout,orchestrate,allocate,schedule,wire,dispatch,agent}/... ./internal/api/kube/view ./internal/api/docker/...
echo "== the binary, on real containers"
# What is tested is the binary, which go test does not know: never from its cache.
go test "${flags[@]}" -p 1 -count=1 -timeout 45m ./test/...
