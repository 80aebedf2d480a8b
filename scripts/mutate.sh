#!/usr/bin/env bash
# Proves that the tests of the fault core would notice: applies the patches of internal/fault/testdata/mutants one at a
# time to a copy of the core, each a small bug, and demands that it builds and that a test fails. A patch that no
# longer applies is a failure, and so are fewer than 20 patches.
#   scripts/mutate.sh [PATCH ...]
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD
mutants=internal/fault/testdata/mutants
least=20

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$work/internal"
cp go.mod go.sum "$work/"

fresh() { rm -rf "$work/internal/fault" && cp -r "$top/internal/fault" "$work/internal/fault"; }
core() { (cd "$work" && nice go test -count=1 -timeout 5m "$@" ./internal/fault/...); }

if [ $# -gt 0 ]; then patches=("$@"); else
	shopt -s nullglob
	patches=("$mutants"/*.patch)
	if [ ${#patches[@]} -lt $least ]; then
		echo "mutate: $mutants holds ${#patches[@]} patches, at least $least are wanted"
		exit 1
	fi
fi

fresh
core >"$work/log" 2>&1 || { cat "$work/log"; echo "mutate: the core fails its tests without any bug"; exit 1; }

survived=0
for patch in "${patches[@]}"; do
	name=$(basename "$patch" .patch)
	fresh
	# Outside any repository "git apply" works on the plain files of the folder that it stands in.
	if ! (cd "$work" && GIT_CEILING_DIRECTORIES=/ git apply "$top/${patch#"$top"/}") >"$work/log" 2>&1; then
		echo "FAIL  $name no longer applies"
		survived=$((survived + 1))
		continue
	fi
	if ! (cd "$work" && go vet ./internal/fault/...) >"$work/log" 2>&1; then
		echo "FAIL  $name does not build"
		sed 's/^/      /' "$work/log"
		survived=$((survived + 1))
	elif core -failfast >"$work/log" 2>&1; then
		echo "FAIL  $name survived: no test noticed"
		survived=$((survived + 1))
	else
		echo "ok    $name: $(grep -m1 -oE '^ *--- FAIL: [^ ]+' "$work/log" | sed 's/.*FAIL: //' || true)"
	fi
done
echo "mutate: $((${#patches[@]} - survived)) of ${#patches[@]} bugs were caught"
[ $survived -eq 0 ]
