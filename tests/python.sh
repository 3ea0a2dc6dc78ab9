#!/usr/bin/env bash
# python.sh SUITE [PYTEST ARGUMENTS]: runs one of the Python suites below tests/ with its own pinned packages, which are kept
# below the target folder.
set -euo pipefail
cd "$(dirname "$0")/.."
suite="$1"
shift

venv="${CARGO_TARGET_DIR:-target}/venv-$suite"
requirements="tests/$suite/requirements.txt"
wanted="$(sha256sum "$requirements")"
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements"
    echo "$wanted" >"$venv/requirements.sha256"
fi
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" -m pytest -p no:cacheprovider "tests/$suite" "$@"
