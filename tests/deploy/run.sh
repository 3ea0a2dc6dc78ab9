#!/usr/bin/env bash
# Renders and checks what this project is deployed with: k8s/, docker-compose.yaml, the Dockerfile and .env.sample.
# Needs python3 with venv and docker-compose (or the compose plugin); keeps its packages below the target folder.
set -euo pipefail
cd "$(dirname "$0")/../.."

venv="${CARGO_TARGET_DIR:-target}/deploy-venv"
wanted="$(sha256sum tests/deploy/requirements.txt)"
if [ "$(cat "$venv/requirements.sha256" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/deploy/requirements.txt
    echo "$wanted" >"$venv/requirements.sha256"
fi
PYTHONDONTWRITEBYTECODE=1 exec "$venv/bin/python" -m pytest -p no:cacheprovider -q tests/deploy "$@"
