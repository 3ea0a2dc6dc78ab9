"""Records that say where they belong: the sixteen bytes after the header (an event's id, the first field) hold the partition
and the offset at which the one, idempotent producer puts them. Also a program: `records.py BOOTSTRAP RECORDS RATE`, which
first writes to the partitions that market.ticks.v1 has, then lets it grow to twelve and goes on, in bursts."""

import datetime
import io
import json
import random
import sys
import time
from decimal import Decimal
from pathlib import Path

import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
TOPIC = "market.ticks.v1"
PARTITIONS = 12
# One in so many does not decode; a prime, so that every partition and every object position gets some.
GARBAGE_EVERY = 4999
# Written before the topic grows: one in so many.
BEFORE_GROWTH = 100


def encoder(record, version):
    """Single-object encoding by fastavro; gives the bytes of a dict."""
    text = json.loads((SCHEMAS / f"{record}-v{version}.avsc").read_text())
    canonical = fastavro.schema.to_parsing_canonical_form(text)
    header = b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO"))
    schema = fastavro.parse_schema(text)

    def encode(value):
        body = io.BytesIO(header)
        body.seek(len(header))
        fastavro.schemaless_writer(body, schema, value)
        return body.getvalue()

    return encode


def tick():
    now = datetime.datetime(2026, 3, 2, 12, tzinfo=datetime.UTC)
    unset = dict.fromkeys(("bid", "ask", "volume_24h", "quote_volume_24h", "market_cap", "change_24h_pct",
                           "previous_event_time", "previous_symbol", "fx_age_ms"))
    return {
        **unset, "event_id": bytes(16), "revision": 0, "source": "storm", "symbol": "BTC-USD", "base": "BTC", "quote": "USD",
        "kind": "TRADE", "price": Decimal("67187.34"), "quantity": Decimal("0.00041205"), "event_time": now,
        "event_time_origin": "SOURCE", "received_at": now, "sequence": 51234567891, "trade_id": "861234568",
        "source_symbol": "BTC-USD", "payload_id": bytes(16), "retracted": False,
    }


def place(partition, offset):
    return ((partition << 40) + offset).to_bytes(16)


def is_garbage(partition, offset):
    return (offset * PARTITIONS + partition) % GARBAGE_EVERY == GARBAGE_EVERY - 1


class Flood:
    def __init__(self, bootstrap):
        # Idempotent and alone, so the broker's offsets are the order of sending.
        self.producer = Producer({
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 20,
            "queue.buffering.max.messages": 500_000, "delivery.report.only.error": True,
            "topic.metadata.refresh.interval.ms": 1000, "on_delivery": self.failed,
        })
        good = encoder("price_tick", 2)(tick())
        self.head, self.body = good[:10], good[26:]
        self.next = [0] * PARTITIONS

    def failed(self, error, _):
        raise SystemExit(f"a record was not delivered: {error}")

    def send(self, count, partitions):
        for index in range(count):
            partition = index % partitions
            offset = self.next[partition]
            self.next[partition] += 1
            head, body = (b"garbage!!!", b"") if is_garbage(partition, offset) else (self.head, self.body)
            value = head + place(partition, offset) + body
            while True:
                try:
                    self.producer.produce(TOPIC, value, b"BTC-USD", partition)
                    break
                except BufferError:
                    self.producer.poll(0.1)
        self.producer.poll(0)

    def flush(self):
        assert self.producer.flush(120) == 0, "the broker has not taken everything"


def grow(bootstrap, producer, topic, partitions):
    """Adds partitions, and waits until the producer knows them."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    [grown] = admin.create_partitions([NewPartitions(topic, partitions)]).values()
    grown.result(30)
    while len(producer.list_topics(topic, 10).topics[topic].partitions) < partitions:
        time.sleep(0.1)


def main(bootstrap, records, rate):
    flood = Flood(bootstrap)
    before = records // BEFORE_GROWTH
    flood.send(before, len(flood.producer.list_topics(TOPIC, 10).topics[TOPIC].partitions))
    flood.flush()
    grow(bootstrap, flood.producer, TOPIC, PARTITIONS)
    sent, chance = before, random.Random(7)
    while sent < records:
        # A second of calm or of a burst; on average the rate.
        begun = time.monotonic()
        count = min(records - sent, max(1, int(rate * chance.choice([0.1, 0.3, 1, 1, 2.6]))))
        flood.send(count, PARTITIONS)
        sent += count
        time.sleep(max(0.0, 1 - (time.monotonic() - begun)))
    flood.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
