#!/usr/bin/env bash
# venv.sh SUITE: prints the folder of the Python packages that tests/SUITE/requirements.txt pins, below the target folder; makes
# it when it is not there or has others.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${CARGO_TARGET_DIR:-target}/venv-${1//\//-}"
requirements="tests/$1/requirements.txt"
wanted="$(sha256sum "$requirements")"
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$requirements" >&2
    echo "$wanted" >"$venv/requirements.sha256"
fi
echo "$venv"
