"""Kafka's own command-line tools, from the jars that the stack's broker runs from; and what a group has committed."""

import os
import re
import subprocess
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

POM = Path(__file__).resolve().parents[2] / "stack" / "kafka" / "pom.xml"
QUICK = ["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def jars():
    version = re.search(r"<artifactId>kafka-tools</artifactId>\s*<version>([^<]+)<", POM.read_text()).group(1)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "tickstream" / f"kafka-{version}"


def run(world, tool, *arguments):
    """What the tool of this class says."""
    java = Path(os.environ["JAVA_HOME"]) / "bin" / "java" if os.environ.get("JAVA_HOME") else "java"
    command = [java, *QUICK, "-cp", jars() / "*", f"org.apache.kafka.tools.{tool}",
               "--bootstrap-server", world.environment["KAFKA_BOOTSTRAP_SERVERS"], *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{tool} {arguments}: {result.stdout}{result.stderr}"
    return result.stdout


def log_ends(world, topic):
    """{partition: (first offset, offset after the last)}, as kafka-get-offsets tells them."""
    ends = {}
    for time in ("earliest", "latest"):
        for line in run(world, "GetOffsetShell", "--topic", topic, "--time", time).split():
            _, partition, offset = line.rsplit(":", 2)
            ends.setdefault(int(partition), []).append(int(offset))
    return {partition: tuple(offsets) for partition, offsets in ends.items()}


def rewind(world, group, topic):
    """kafka-consumer-groups --reset-offsets --to-earliest; gives the new offsets."""
    said = run(world, "consumer.group.ConsumerGroupCommand", "--group", group, "--topic", topic, "--reset-offsets",
               "--to-earliest", "--execute")
    rows = [line.split() for line in said.splitlines() if line.startswith(group)]
    assert rows, said
    return {int(partition): int(offset) for _, _, partition, offset in rows}


def committed(world, group, topic, partitions):
    """{partition: committed offset}; empty while the group has no coordinator, as a new one has none."""
    consumer = Consumer({"bootstrap.servers": world.environment["KAFKA_BOOTSTRAP_SERVERS"], "group.id": group})
    places = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        return {place.partition: place.offset for place in consumer.committed(places, timeout=20)}
    except KafkaException:
        return {}
    finally:
        consumer.close()
