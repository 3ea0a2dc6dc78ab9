#!/bin/bash
# Stands in for each of Kafka's own command-line tools that is used here, by the name that it is called by.
set -euo pipefail
case "$(basename "$0")" in
kafka-consumer-groups.sh) class=org.apache.kafka.tools.consumer.group.ConsumerGroupCommand ;;
kafka-topics.sh) class=org.apache.kafka.tools.TopicCommand ;;
kafka-get-offsets.sh) class=org.apache.kafka.tools.GetOffsetShell ;;
*)
    echo "no such tool here" >&2
    exit 2
    ;;
esac
exec /usr/lib/jvm/bin/java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
    -cp '/opt/kafka/libs/*' "$class" "$@"
