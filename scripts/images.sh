#!/usr/bin/env bash
# Every image of the Dockerfile, under the tags that the manifests name:
#   scripts/images.sh build        docker builds them
#   scripts/images.sh load         $LOAD_IMAGE takes each by its name (`kind load docker-image`, `minikube image load`, `k3d image import`)
#   scripts/images.sh names        prints them
set -euo pipefail
cd "$(dirname "$0")/.."

version="$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)"
targets=(producer consumer-lake refiner consumer-db consumer-alerts dashboard cli s3)

case "${1:-}" in
build)
    for target in "${targets[@]}"; do
        docker build --target "$target" --build-arg "VERSION=$version" --tag "tickstream/$target:$version" .
    done
    ;;
load)
    for target in "${targets[@]}"; do
        # A command with its arguments.
        # shellcheck disable=SC2086
        ${LOAD_IMAGE:?names the command that loads an image into the cluster} "tickstream/$target:$version"
    done
    ;;
names) printf "tickstream/%s:$version\n" "${targets[@]}" ;;
*)
    sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
