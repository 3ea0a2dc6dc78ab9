#!/usr/bin/env bash
# Runs a command of the toolbox while one or more sinks are paused, puts them back, waits until they have caught up, and audits:
#
#   k8s/replay.sh SINK[,SINK…] COMMAND [ARGUMENTS…]
#   k8s/replay.sh --in statefulset/kafka consumer-db /opt/kafka/bin/kafka-consumer-groups.sh --bootstrap-server kafka:9092 \
#       --group consumer-db --topic market.ticks.v1 --reset-offsets --to-earliest --execute
#
# --in WORKLOAD        where the command is run (deploy/toolbox)
# NAMESPACE=tickstream MAX_LAG=5000 PATIENCE=1800s   the installation; what counts as caught up; how long that is waited for
#
# A KEDA ScaledObject of a sink's name is paused first, or it would bring the sink back. Whatever happens on the way, an interrupt
# included, the sinks are given back the replicas that they had. Exit code: the command's, else the audit's.
set -euo pipefail

where=deploy/toolbox
if [ "${1:-}" = --in ]; then
    where="$2"
    shift 2
fi
if [ $# -lt 2 ]; then
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2
    exit 2
fi
IFS=, read -ra sinks <<<"$1"
shift
namespace="${NAMESPACE:-tickstream}"
max_lag="${MAX_LAG:-5000}"
patience="${PATIENCE:-1800s}"

in_namespace() { kubectl --namespace "$namespace" "$@"; }
say() { printf '%s %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }
is_scaled_by_keda() { in_namespace get scaledobject.keda.sh "$1" >/dev/null 2>&1; }

declare -A replicas
restore() {
    trap - EXIT INT TERM
    for sink in "${!replicas[@]}"; do
        say "$sink: back to ${replicas[$sink]}"
        in_namespace scale deployment "$sink" --replicas="${replicas[$sink]}" >&2
        if is_scaled_by_keda "$sink"; then
            in_namespace annotate scaledobject.keda.sh "$sink" autoscaling.keda.sh/paused- >&2
        fi
    done
}
trap restore EXIT
trap 'exit 130' INT TERM

for sink in "${sinks[@]}"; do
    before="$(in_namespace get deployment "$sink" --output 'jsonpath={.spec.replicas}')"
    [ "$before" -gt 0 ] || { say "$sink has no replicas: it is paused already, by somebody else"; exit 1; }
    if is_scaled_by_keda "$sink"; then
        in_namespace annotate --overwrite scaledobject.keda.sh "$sink" autoscaling.keda.sh/paused=true >&2
    fi
    replicas[$sink]="$before"
    say "$sink: paused ($before -> 0)"
    in_namespace scale deployment "$sink" --replicas=0 >&2
done
for sink in "${sinks[@]}"; do
    in_namespace wait --for=delete pod --selector "app.kubernetes.io/name=$sink" --timeout="$patience" >&2
done

code=0
in_namespace exec "$where" -- "$@" || code=$?
restore
[ "$code" = 0 ] || { say "the command ended with $code; the sinks go on where they are"; exit "$code"; }

for sink in "${sinks[@]}"; do
    in_namespace rollout status deployment "$sink" --timeout="$patience" >&2
    say "$sink: waiting until it is less than $max_lag records behind"
    deadline=$((SECONDS + ${patience%s}))
    until in_namespace exec deploy/toolbox -- tickstream groups "$sink" --totals --max-lag "$max_lag" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || { say "$sink has not caught up in $patience"; exit 1; }
        sleep 2
    done
done
say "audit"
# What came in the last minutes may be under way.
in_namespace exec deploy/toolbox -- env AUDIT_TAKEN_WITHIN=15m tickstream audit
