#!/usr/bin/env bash
# Everything that can be seen without running the tests. Goes on after a finding, so that all are seen at once.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=build/bin
failed=0

step() { # TITLE COMMAND...: quiet when it succeeds
	local title=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "ok    $title"
	else
		echo "FAIL  $title"
		sed 's/^/      /' <<<"$out"
		failed=1
	fi
}

formatted() { # gofumpt prints what it would change
	local out
	out=$(git ls-files -co --exclude-standard '*.go' | grep -v testdata/ | xargs -r $bin/gofumpt -l) && [ -z "$out" ] && return
	echo "$out"
	echo "run: git ls-files '*.go' | xargs $bin/gofumpt -w"
	return 1
}

shell() { git ls-files -co --exclude-standard 'scripts/*.sh' .ci/run | while read -r f; do bash -n "$f" || return 1; done; }

# A path of somebody's own machine has no place in the tree.
paths() { ! git grep -nIE '(/home/[a-z]+/|/Users/[A-Za-z]+/)' -- . ':!scripts/check.sh'; }

# Every direct dependency has its line.
dependencies() {
	local missing
	missing=$(go list -m -f '{{if not (or .Indirect .Main)}}{{.Path}}{{end}}' all | while read -r m; do
		[ -z "$m" ] || grep -qF "| \`$m\` |" docs/dependencies.md || echo "docs/dependencies.md lacks $m"
	done)
	[ -z "$missing" ] || { echo "$missing" && return 1; }
}

state() {
	git diff --no-ext-diff HEAD
	git ls-files -o --exclude-standard | xargs -r sha256sum
}

generated() {
	local before
	before=$(state | sha256sum)
	make generate && [ "$before" = "$(state | sha256sum)" ] && return
	echo "make generate changed these: commit them"
	git status --short
	return 1
}

imports() { # the map of imports is a test, so that it also fails in make test
	local out
	out=$(go test -count=1 -v -run 'Import' ./internal/app) || { echo "$out" && return 1; }
	grep -q '^--- PASS' <<<"$out" || { echo "no test of the import map ran" && return 1; }
}

step 'shell scripts' shell
step 'format (gofumpt)' formatted
step 'go vet' go vet ./...
step 'lint (staticcheck)' $bin/staticcheck ./...
house() { $bin/style $(ls -d cmd internal kmip tools 2>/dev/null); }
step 'house rules (tools/style)' house
step 'import map' imports
step 'generated files' generated
step 'go.mod is tidy' go mod tidy -diff
step 'docs/dependencies.md' dependencies
step 'tools/go.mod is tidy' go -C tools mod tidy -diff
step 'tools: vet' go -C tools vet ./...
step 'tools: tests' go -C tools test ./...
step 'bench/kmip: vet' go -C bench/kmip vet ./...
step 'no paths of one machine' paths
exit $failed
