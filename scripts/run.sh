#!/usr/bin/env bash
# "make run" and "make run-backup-example" (with the word backup): see cmd/firstrun. Everything they write lies in
# build/run and build/backup-example.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bin
go build -o build/bin/firstrun ./cmd/firstrun
if [ "${1:-}" = backup ]; then
	exec build/bin/firstrun build/allclear build/backup-example backup
fi
exec build/bin/firstrun build/allclear build/run
