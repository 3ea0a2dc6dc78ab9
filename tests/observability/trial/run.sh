#!/usr/bin/env bash
# run.sh [--binaries FOLDER] [ALERT...]: makes the fault of each alert rule (or of those named) and watches it fire and resolve
# in a real Prometheus (trial.py). Needs the binaries built, Java, Postgres, Go and python3 with venv.
set -euo pipefail
cd "$(dirname "$0")/../../.."

prometheus="$(tests/observability/prometheus_tool.sh prometheus)"
venv="$(tests/venv.sh observability/trial)"
PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 exec "$venv/bin/python" tests/observability/trial/trial.py --prometheus "$prometheus" "$@"
