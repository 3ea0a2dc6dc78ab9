#!/usr/bin/env bash
# Brings the local overlay up in the cluster that KUBECONFIG points at, breaks it in many ways under load, and audits it: some
# 15 minutes. The namespace tickstream is made and, at the end, deleted (KEEP=1 leaves it). OVERLAY=folder tests another one that
# brings the same workloads.
#
#   LOAD_IMAGE='kind load docker-image' make k8s-test        `minikube image load`, `k3d image import`, …; empty: the images are there
#   IMAGES=stand-in LOAD_IMAGE='kind load image-archive' make k8s-test
#
# IMAGES=docker loads the images that `make images` has built, by their names, one after the other. IMAGES=stand-in needs no
# registry and no docker: the images are made of the binaries of `make build` and of this machine's own files (images.py), in one
# archive that LOAD_IMAGE is given the path of. Without IMAGES: docker where it answers, else stand-in.
set -euo pipefail
cd "$(dirname "$0")/../.."

: "${KUBECONFIG:=$HOME/.kube/config}"
export KUBECONFIG
kubectl version --request-timeout=10s >/dev/null || {
    echo "k8s-test: no cluster answers: KUBECONFIG is $KUBECONFIG" >&2
    exit 2
}

if [ -z "${IMAGES:-}" ]; then
    IMAGES=stand-in
    docker info >/dev/null 2>&1 && IMAGES=docker
fi
case "$IMAGES" in
docker) [ -z "${LOAD_IMAGE:-}" ] || scripts/images.sh load ;;
stand-in)
    archive="${CARGO_TARGET_DIR:-target}/k8s/images.tar"
    python3 tests/k8s/images.py "$archive"
    # Absolute, so that no command takes it for a name.
    [ -z "${LOAD_IMAGE:-}" ] || $LOAD_IMAGE "$(realpath "$archive")"
    rm "$archive"
    ;;
*)
    echo "k8s-test: IMAGES is docker or stand-in, not $IMAGES" >&2
    exit 2
    ;;
esac

exec tests/python.sh k8s -s -rs "$@"
