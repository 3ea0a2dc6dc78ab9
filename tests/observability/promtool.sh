#!/usr/bin/env bash
# The alert rules' unit tests, run by Prometheus's own promtool, which Go builds once from its module into the target folder
# (some minutes, 1 GB of modules).
set -euo pipefail
cd "$(dirname "$0")/../.."

version=v0.305.0 # Prometheus 3.5
promtool="$(realpath -m "${CARGO_TARGET_DIR:-target}")/promtool-$version"
if [ ! -x "$promtool" ]; then
    command -v go >/dev/null || { echo "promtool.sh: needs Go, to build promtool $version" >&2; exit 2; }
    echo "building promtool $version" >&2
    module="$(go mod download -json "github.com/prometheus/prometheus@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
    # In the module's own folder, so that its own lock file counts.
    (cd "$module" && go build -o "$promtool.new" ./cmd/promtool)
    mv "$promtool.new" "$promtool"
fi
"$promtool" check rules k8s/components/monitoring/rules.yaml
"$promtool" check config --syntax-only monitoring/prometheus.yaml
"$promtool" test rules tests/observability/rules_test.yaml
