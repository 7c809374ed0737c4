#!/bin/bash
# Runs every fuzz target of the tree for the given time each.
set -euo pipefail
cd "$(dirname "$0")/.."
for file in $(git ls-files '*_test.go' | xargs grep -l '^func Fuzz'); do
  for target in $(grep -oE '^func Fuzz[A-Za-z0-9_]*' "$file" | cut -c6-); do
    echo "== ${file%/*} $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" "./${file%/*}"
  done
done
