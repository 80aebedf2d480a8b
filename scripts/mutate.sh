#!/usr/bin/env bash
# Proves that the tests of the fault core would notice: seeds the bugs of internal/fault/testdata/mutants.txt one at a
# time, in an overlay, and demands that the tests named for each fail.
#   scripts/mutate.sh [NAME ...]
set -euo pipefail
cd "$(dirname "$0")/.."
exec nice go -C tools run ./mutate -top .. "$@"
