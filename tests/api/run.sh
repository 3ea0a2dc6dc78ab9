#!/usr/bin/env bash
# Asks a real dashboard, on a real broker and database, whatever its OpenAPI document allows and much that it does not, and
# compares what memory, the database and the topic say of the same time. Needs the binaries built and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh api -rA --durations=0 "$@"
