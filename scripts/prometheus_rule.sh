#!/usr/bin/env bash
# Prints the alert rules as the Prometheus operator's resource: scripts/prometheus_rule.sh > k8s/components/monitoring/prometheus-rule.yaml
set -euo pipefail
cd "$(dirname "$0")/.."

cat <<'HEAD'
# Made of rules.yaml by scripts/prometheus_rule.sh.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: tickstream
  labels: {app.kubernetes.io/name: tickstream}
spec:
HEAD
sed -n '/^groups:/,$p' k8s/components/monitoring/rules.yaml | sed 's/^\(..*\)/  \1/'
