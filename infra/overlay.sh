#!/usr/bin/env bash
# overlay.sh dev|prod: writes the values that Terraform gives out into the overlay that goes with them.
set -euo pipefail
cd "$(dirname "$0")/.."
environment="${1:?dev or prod}"
folder="infra/terraform/envs/$environment"

kafka="$(terraform -chdir="$folder" output -raw kafka)"
case $kafka in
    strimzi) overlay=eks ;;
    msk) overlay=eks-msk ;;
    *) echo "overlay.sh: Terraform says that Kafka is $kafka: strimzi or msk is known" >&2; exit 2 ;;
esac
file="k8s/overlays/$overlay/cluster/cluster.env"
values="$(terraform -chdir="$folder" output -json overlay)"
{
    echo "# Made by infra/overlay.sh $environment."
    python3 -c 'import json, sys; print("\n".join(f"{name}={value}" for name, value in sorted(json.load(sys.stdin).items())))' <<<"$values"
} >"$file.new"
mv "$file.new" "$file"
echo "$file is written: kubectl apply -k k8s/overlays/$overlay"
