#!/usr/bin/env bash
# Runs the real binaries against a broker with TLS, SCRAM, client certificates and ACLs, and against Postgres and a store with
# TLS; checks docs/security.md by it. Needs the binaries built, java, openssl's library and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec tests/python.sh security -q "$@"
