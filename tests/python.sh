#!/usr/bin/env bash
# python.sh SUITE [PYTEST ARGUMENTS]: runs one of the Python suites below tests/ with its own pinned packages (venv.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
suite="$1"
shift

venv="$(tests/venv.sh "$suite")"
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" -m pytest -p no:cacheprovider "tests/$suite" "$@"
