#!/usr/bin/env bash
# "make run": see cmd/firstrun. Everything it writes lies in build/run.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bin
go build -o build/bin/firstrun ./cmd/firstrun
exec build/bin/firstrun build/allclear build/run
