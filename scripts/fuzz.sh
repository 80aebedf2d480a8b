#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time each (default 30s), one after the other. An input is made
# smaller by at most 100 tries: by default Go spends up to a minute on each one that reaches something new, which is all
# of the time where that depends on goroutines or buffers.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-30s}
found=0
for pkg in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./...); do
	for target in $(go test -list '^Fuzz' "$pkg" | grep '^Fuzz' || true); do
		echo "== $pkg $target"
		found=$((found + 1))
		nice go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" -fuzzminimizetime 100x "$pkg"
	done
done
[ $found -gt 0 ] || { echo "no fuzz target was found" && exit 1; }
