#!/usr/bin/env bash
# Checks metrics, alert rules, dashboards and what runs them against the code. Needs python3 with venv; keeps its packages
# below the target folder. The rules' own unit tests are promtool.sh's.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec tests/python.sh observability -q "$@"
