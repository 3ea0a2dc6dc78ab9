#!/usr/bin/env bash
# prometheus_tool.sh promtool|prometheus: prints where that program of Prometheus is. Go builds it once, from Prometheus's own
# module, into the target folder (some minutes, 1 GB of modules): without the pages, which nobody looks at here, and without the
# ways to find targets that monitoring/ does not use, of which each cloud's is larger than the rest.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=v0.305.0 # Prometheus 3.5
tool="$(realpath -m "${CARGO_TARGET_DIR:-target}")/$1-$version"
if [ ! -x "$tool" ]; then
    command -v go >/dev/null || { echo "prometheus_tool.sh: needs Go, to build $1 $version" >&2; exit 2; }
    echo "building $1 $version" >&2
    module="$(go mod download -json "github.com/prometheus/prometheus@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
    # Go's own folder of modules is not to be changed. Built where its own lock file is, so that it counts.
    sources="$(mktemp -d)"
    trap 'rm -rf "$sources"' EXIT
    cp -r --no-preserve=mode "$module/." "$sources"
    rm "$sources"/plugins/*.go
    printf 'package plugins\n\nimport (\n\t_ "%s/dns"\n\t_ "%s/file"\n)\n' github.com/prometheus/prometheus/discovery{,} >"$sources/plugins/plugins.go"
    (cd "$sources" && go build -buildvcs=false -o "$tool.new" "./cmd/$1")
    mv "$tool.new" "$tool"
fi
echo "$tool"
