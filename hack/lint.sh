#!/bin/bash
# What CI checks beside the tests: format, vet, tidy modules.
set -euo pipefail
cd "$(dirname "$0")/.."
echo "== lint"
bad=$(git ls-files -co --exclude-standard '*.go' | grep -v '_gen\.go$' | xargs gofmt -l)
[ -z "$bad" ] || { echo "not formatted (run make fmt): $bad" >&2; exit 1; }
go vet -p 2 ./...
# Left out: deprecated API that is served on purpose (Endpoints), and messages in
# Kubernetes' own words, which begin with a capital letter.
go tool staticcheck -checks 'inherit,-SA1019,-ST1005' ./...
go mod tidy -diff
(cd tools && go mod tidy -diff)
(cd tools/mesos && go mod tidy -diff)
(cd test/software && go vet -p 2 ./... && go mod tidy -diff)
