#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each (default 30s), one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
found=0
for pkg in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "== $pkg $target"
		found=$((found + 1))
		nice go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$pkg"
	done
done
[ $found -gt 0 ] || { echo "no fuzz target was found" && exit 1; }
