#!/usr/bin/env bash
# Renders and checks what this project is deployed with: k8s/, docker-compose.yaml, the Dockerfile and .env.sample.
# Needs python3 with venv and docker-compose (or the compose plugin); keeps its packages below the target folder.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec tests/python.sh deploy -q "$@"
