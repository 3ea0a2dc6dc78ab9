"""Ticks that a consumer refused are sent again once it takes them: each once, whatever is killed meanwhile, and the audit agrees
at every step."""

import io
import json
import subprocess
import time
import uuid
from datetime import datetime, timedelta, timezone

import fastavro
import readers
from confluent_kafka import Consumer, Producer, TopicPartition
from services import BINARIES, wait_until

TICKS = "market.ticks.v1"
# More than a few batches; a thousand bad records in a minute stop the consumer.
OLD = 900


def old_ticks(world):
    """Ticks of ten days ago, each an event of its own, like one that a producer wrote."""
    _, _, key, value, _ = readers.topic(world.environment, TICKS)[0]
    schema = readers.schemas("price_tick")[value[2:10]]
    tick = fastavro.schemaless_reader(io.BytesIO(value[10:]), schema)
    for number in range(OLD):
        at = datetime.now(timezone.utc) - timedelta(days=10, seconds=number)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, schema, {**tick, "event_id": uuid.uuid4().bytes, "event_time": at})
        yield key, value[:10] + body.getvalue()


def letters(world):
    """The topic's dead letters, in groups."""
    return json.loads(world.tickstream("dlq", "list", "--topic", TICKS, "-o", "json").stdout)


def redriven(world):
    """The records that were sent again, by what they are copies of."""
    headers = [headers for *_, headers in readers.topic(world.environment, TICKS)]
    return [header["tickstream-redriven"] for header in headers if "tickstream-redriven" in header]


def written(world):
    """Offsets that the topic has taken, whatever stands there."""
    consumer = Consumer({"bootstrap.servers": world.environment["KAFKA_BOOTSTRAP_SERVERS"], "group.id": "end-to-end-ends",
                         "isolation.level": "read_uncommitted"})
    partitions = consumer.list_topics(TICKS, timeout=10).topics[TICKS].partitions
    ends = [consumer.get_watermark_offsets(TopicPartition(TICKS, partition), timeout=10)[1] for partition in partitions]
    consumer.close()
    return sum(ends)


def rows(world):
    return readers.postgres(world, "select count(*) from ticks")[0][0]


def test_refused_ticks_are_sent_again_once_they_would_be_taken(world):
    strict = world.start("consumer-db", DB_OLDEST_EVENT_DAYS="1").ready()
    lake = world.start("consumer-lake", LAKE_MAX_AGE_MS="300").ready()
    producer = world.start("producer", PRODUCER_SOURCES="simulated", SIMULATED_RATE="2000", SIMULATED_TRADES="100",
                           PRODUCER_SPILL_DIR=str(world.folder / "spill"))
    wait_until("100 rows", lambda: rows(world) == 100)
    assert producer.process.wait(timeout=30) == 0
    world.services = [strict, lake]
    by_hand = Producer({"bootstrap.servers": world.environment["KAFKA_BOOTSTRAP_SERVERS"]})
    for key, value in old_ticks(world):
        by_hand.produce(TICKS, key=key, value=value)
    by_hand.produce(TICKS, key=b"BTC-USD", value=b"\x00garbage")
    by_hand.flush()
    refused = {("consumer-db", OLD), ("consumer-db", 1), ("consumer-lake", 1)}
    wait_until("the letters", lambda: {(row["group"], row["letters"]) for row in letters(world)} == refused)
    wait_until("both groups to catch up", lambda: lake.caught_up() and strict.caught_up())
    assert (rows(world), world.audit()["dead_letters"]) == (100, OLD + 1)

    # It refuses what this consumer would refuse again, and sends nothing.
    redrive = ["dlq", "redrive", "--topic", TICKS, "--reason", "out of range", "--execute"]
    refused = world.tickstream(*redrive, "--oldest-event-days", "1", check=False)
    assert refused.returncode == 1 and f"0 letters redriven (0 records), {OLD} refused" in refused.stderr, refused.stderr
    assert redriven(world) == []

    # The consumer is told to take older ticks. The redrive is killed as soon as it has begun to write.
    strict.stop()
    db = world.start("consumer-db").ready()
    world.services = [db, lake]
    environment = {**world.environment, "PATH": "/usr/bin:/bin"}
    before = written(world)
    killed = subprocess.Popen([BINARIES / "tickstream", *redrive], env=environment, stdout=subprocess.DEVNULL)
    wait_until("the first of them", lambda: written(world) > before or killed.poll() is not None)
    killed.kill()
    killed.wait()
    standing = len(redriven(world))
    print(f"killed when {standing} of {OLD} stood again")
    begun = time.monotonic()
    print(world.tickstream(*redrive).stderr, f"{time.monotonic() - begun:.1f} s")
    copies = redriven(world)
    assert (len(copies), len(set(copies))) == (OLD, OLD), "each once"
    again = world.tickstream(*redrive)
    assert f"0 letters redriven (0 records), 0 refused, {OLD} settled before" in again.stderr, again.stderr

    wait_until(f"{100 + OLD} rows", lambda: rows(world) == 100 + OLD)
    wait_until("both groups to catch up", lambda: lake.caught_up() and db.caught_up())
    world.tickstream("dlq", "drop", "--topic", TICKS, "--why", "written by hand", "--execute")
    totals = world.audit()
    assert (totals["postgres_rows"], totals["dead_letters"]) == (100 + OLD, OLD + 1), totals
    assert totals["lake_records"] == totals["delivered"]
    assert sorted((row["state"], row["letters"]) for row in letters(world)) == [("dropped", 1), ("dropped", 1), ("redriven", OLD)]
