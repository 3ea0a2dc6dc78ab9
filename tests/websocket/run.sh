#!/usr/bin/env bash
# Runs a real dashboard under an outside WebSocket client: every message is held against the served JSON Schema, and clients
# misbehave. Needs the binaries built and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh websocket -rA --durations=0 "$@"
