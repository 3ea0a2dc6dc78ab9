#!/usr/bin/env bash
# The alert rules' unit tests, run by Prometheus's own promtool (prometheus_tool.sh).
set -euo pipefail
cd "$(dirname "$0")/../.."

promtool="$(tests/observability/prometheus_tool.sh promtool)"
"$promtool" check rules k8s/components/monitoring/rules.yaml
"$promtool" check config --syntax-only monitoring/prometheus.yaml
"$promtool" test rules tests/observability/rules_test.yaml
