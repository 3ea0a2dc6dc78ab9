#!/usr/bin/env bash
# Runs the real binaries against a real broker, database, object store and browser, and reads the results with other
# people's readers. Needs the binaries built, python3 with venv, Chromium and its driver.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh end_to_end -rA --durations=0 "$@"
