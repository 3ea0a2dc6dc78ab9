#!/bin/bash
# Stands in for what apache/kafka runs: its KAFKA_… variables become a configuration below /opt/kafka/config, the storage is
# formatted once, the broker starts. The rule of names is the image's own: _ is a dot, __ an underscore, ___ a dash.
set -euo pipefail

config=/opt/kafka/config/server.properties
: >"$config"
for name in ${!KAFKA_*}; do
    case "$name" in KAFKA_HEAP_OPTS | KAFKA_OPTS | KAFKA_JVM_PERFORMANCE_OPTS) continue ;; esac
    key="${name#KAFKA_}"
    key="${key,,}"
    key="${key//___/-}"
    key="${key//__/$'\1'}"
    key="${key//_/.}"
    printf '%s=%s\n' "${key//$'\1'/_}" "${!name}" >>"$config"
done

kafka() {
    /usr/lib/jvm/bin/java -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp '/opt/kafka/libs/*' "$@"
}
kafka -Xmx128m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC kafka.tools.StorageTool format --ignore-formatted \
    --cluster-id "$CLUSTER_ID" --config "$config"
# shellcheck disable=SC2086
exec /usr/lib/jvm/bin/java ${KAFKA_HEAP_OPTS:-} -XX:+UseSerialGC -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
    -cp '/opt/kafka/libs/*' kafka.Kafka "$config"
