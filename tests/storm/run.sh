#!/usr/bin/env bash
# Kills, stops and rewinds several lake writers behind a store that fails in every known way, and counts what came out with
# DuckDB. Short by default; RECORDS, SECONDS, KILLS, STOPS, REWINDS and SEED make it longer or repeat it (`make storm`).
# Needs the binaries built, Java and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh storm -rA --durations=0 "$@"
