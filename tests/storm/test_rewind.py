"""A group rewound to the earliest by Kafka's own tool, again and again: the writer finds its raw objects and writes none; bronze
that was taken away comes back byte for byte."""

import datetime
import os

import kafka_tools
from confluent_kafka import Producer
from lake_files import LakeFiles
from records import encoder, grow
from services import Service, wait_until

REWINDS = int(os.environ.get("REWINDS", "10"))
TOPIC, GROUP, PARTITIONS, EACH = "market.health.v1", "rewind", 3, 1000


def send(producer, count):
    encode = encoder("source_health", 2)
    now = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)
    for number in range(count * PARTITIONS):
        health = {"source": f"s{number}", "at": now, "last_answer_at": now, "state": "OK", "budget_left": None,
                  "used_today": None, "used_this_month": None, "producer": None}
        producer.produce(TOPIC, encode(health), b"s", number % PARTITIONS)
    assert producer.flush(60) == 0


def test_rewinds(world):
    bootstrap = world.environment["KAFKA_BOOTSTRAP_SERVERS"]
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
    grow(bootstrap, producer, TOPIC, PARTITIONS)
    settings = {"S3_PREFIX": "rewind", "LAKE_GROUP": GROUP, "LAKE_TOPICS": TOPIC, "LAKE_MAX_AGE_MS": "300", "LAKE_MAX_ROWS": "70"}
    files = LakeFiles(world, "rewind")

    def consume_to(end):
        service = Service(world, "consumer-lake", settings).start()
        try:
            wait_until(f"commits of {end}",
                       lambda: kafka_tools.committed(world, GROUP, TOPIC, PARTITIONS) == dict.fromkeys(range(PARTITIONS), end))
        finally:
            service.stop()

    send(producer, EACH)
    consume_to(EACH)
    raw, bronze = files.fingerprints("raw"), files.fingerprints("bronze")
    contents = {path: print_[0] for path, print_ in bronze.items()}
    assert len(raw) >= PARTITIONS * EACH // 70 and len(bronze) == len(raw)
    for number in range(REWINDS):
        assert kafka_tools.rewind(world, GROUP, TOPIC) == dict.fromkeys(range(PARTITIONS), 0)
        taken = list(bronze)[number % 2::2] if number % 3 else []
        for path in taken:
            path.unlink()
        consume_to(EACH)
        assert files.fingerprints("raw") == raw, "raw is found and skipped"
        now = files.fingerprints("bronze")
        assert {path: print_[0] for path, print_ in now.items()} == contents, "bronze is a function of raw"
        assert [path for path in now if now[path] != bronze[path]] == sorted(taken), "only what was missing is written"
        bronze = now
    send(producer, 10)
    consume_to(EACH + 10)
    after = files.fingerprints("raw")
    assert {path: after[path] for path in raw} == raw
    [(count, distinct)] = files.rows(
        "select count(*), count(distinct (regexp_extract(filename, 'partition=(\\d+)', 1), \"offset\")) from {raw}")
    assert count == distinct == PARTITIONS * (EACH + 10)
    print(f"{REWINDS} rewinds to the earliest: {len(raw)} raw objects with the same ETags, {len(bronze)} bronze objects equal")
